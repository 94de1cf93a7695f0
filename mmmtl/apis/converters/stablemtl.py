"""Published StableMTL weights ↔ this package's names."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ['convert', 'convert_stream', 'export', 'published_names']

_ROLES = {'k': 'key', 'v': 'value', 'q': 'query'}
_LAYERS = {'fc1': '0', 'fc2': '1', 'net.0': '0', 'net.2': '1', 'net.4': '2', 'net.6': '3'}
_ATTENTION = re.compile(
    r'(?P<place>.+)\.transformer_blocks\.(?P<index>\d+)\.attn1\.'
    r'(?:to_out_task\.(?P<out>weight|bias)'
    r'|task_norm_(?P<norm>[kvq])\.(?P<norm_task>[^.]+)\.(?P<norm_leaf>weight|bias)'
    r'|task_to_(?P<role>[kvq])\.(?P<task>[^.]+)\.(?P<layer>fc[12]|net\.[0246])\.(?P<leaf>weight|bias))'
)


def _own_name(key: str, names: Mapping[str, str]) -> str | None:
    """Our name of a task-attention tensor; None for another one, or of a task that ``names`` lacks."""
    match = _ATTENTION.fullmatch(key)
    if not match:
        return None
    part = match.groupdict()
    task = part['norm_task'] or part['task']
    if task is not None and task not in names:
        return None
    index = '' if part['index'] == '0' else f'_{part["index"]}'
    place = f'task_attention.{part["place"].replace(".", "_")}{index}'
    if part['out']:
        return f'{place}.out.{part["out"]}'
    if part['norm']:
        return f'{place}.{_ROLES[part["norm"]]}.{names[task]}.norm.{part["norm_leaf"]}'
    return f'{place}.{_ROLES[part["role"]]}.{names[task]}.layers.{_LAYERS[part["layer"]]}.{part["leaf"]}'


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename the main stream: the UNet (``unet.``) and its task attention (``task_attention.``).

    Args:
        state: Published names → tensors, with or without the ``module.`` of distributed training.
        names: Published task names → names in this model.

    Returns:
        Renamed state dict, dropped keys (none), and unknown keys: task attention of tasks that ``names`` lacks.
    """
    renamed, unknown = {}, []
    for key, value in state.items():
        bare = key[7:] if key.startswith('module.') else key
        if not re.search(r'\.attn1\.(task_|to_out_task)', bare):
            renamed[f'unet.{bare}'] = value
            continue
        own = _own_name(bare, names)
        if own is None:
            unknown.append(key)
        else:
            renamed[own] = value
    return renamed, [], unknown


def convert_stream(state: Mapping[str, Tensor], stream: str) -> dict[str, Tensor]:
    """A bare UNet state dict (``single_stream_unet.pth``) under the name of a stream: ``unet`` or ``auxiliary``."""
    return {f'{stream}.{key[7:] if key.startswith("module.") else key}': value for key, value in state.items()}


def published_names(state: Mapping[str, Tensor]) -> list[str]:
    """Published task names that a main stream's state dict has queries for, in its order."""
    return list(dict.fromkeys(m['task'] for m in map(_ATTENTION.fullmatch, state) if m and m['role'] == 'q'))


def export(state: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, dict[str, Tensor]]:
    """The way back.

    Args:
        state: State dict of a ``LatentMultiTaskModel``.
        names: Published task names → names in this model.

    Returns:
        Published names by part: ``unet`` (the main stream with its task attention), ``single_stream_unet`` (the
        auxiliary one) and ``vae``; parts the state dict lacks are left out.
    """
    back = {own: published for published, own in names.items()}
    parts: dict[str, dict[str, Tensor]] = {'unet': {}, 'single_stream_unet': {}, 'vae': {}}
    prefixes = {'unet.': 'unet', 'auxiliary.': 'single_stream_unet', 'autoencoder.network.': 'vae'}
    for key, value in state.items():
        for prefix, part in prefixes.items():
            if key.startswith(prefix):
                parts[part][key[len(prefix) :]] = value
        if key.startswith('task_attention.'):
            parts['unet'][_published_name(key, back)] = value
    return {part: tensors for part, tensors in parts.items() if tensors}


def _published_name(key: str, names: Mapping[str, str]) -> str:
    """Published name of one of our task-attention tensors."""
    place, rest = re.fullmatch(r'task_attention\.([^.]+)\.(.+)', key).groups()  # type: ignore[union-attr]
    place = re.sub(r'_(?=\d|attentions)', '.', place)  # down_blocks_0_attentions_1 → down_blocks.0.attentions.1
    path, _, index = re.fullmatch(r'(.+\.attentions\.\d+)((?:\.(\d+))?)', place).groups()  # type: ignore[union-attr]
    prefix = f'{path}.transformer_blocks.{index or 0}.attn1'
    if rest.startswith('out.'):
        return f'{prefix}.to_out_task.{rest[4:]}'
    role, task, kind, *tail = rest.split('.')
    short = {v: k for k, v in _ROLES.items()}[role]
    if kind == 'norm':
        return f'{prefix}.task_norm_{short}.{names[task]}.{tail[0]}'
    layer = f'net.{2 * int(tail[0])}' if short == 'q' else f'fc{int(tail[0]) + 1}'
    return f'{prefix}.task_to_{short}.{names[task]}.{layer}.{tail[1]}'
