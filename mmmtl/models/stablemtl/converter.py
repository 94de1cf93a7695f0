"""Published StableMTL weights ↔ this package's names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.errors import CheckpointError
from mmmtl.models.converter import Converter
from mmmtl.models.stablemtl.task_tokens import encode_text
from mmmtl.models.stablemtl.unet import require_diffusers
from mmmtl.registry import CONVERTERS, TASKS
from mmmtl.utils.files import write_atomically
from mmmtl.utils.tensor_files import read_published, read_state

TOKEN_ROOM = 16
"""``max_length`` of the shipped configs' tokens."""
_UNET_FILES = ('diffusion_pytorch_model.safetensors', 'diffusion_pytorch_model.bin')

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


def read_release(path: str) -> dict[str, Tensor]:
    """Everything of a release that can be found at ``path``, under one prefix per part.

    ``path`` is a released folder or a file of bare UNet weights (``single_stream_unet.pth``). Beside the UNet the
    release builds on Stable Diffusion 2: its folders ``vae``, and ``tokenizer`` with ``text_encoder`` (or a file
    ``tokens.pt``, ``{prompt: (L, 1024)}``), must lie in the folder, or beside the file; links will do.

    Returns:
        Names ``unet/...``, ``single_stream_unet/...`` (of a release with two streams), ``vae/...`` and
        ``tokens/PROMPT``.

    Raises:
        CheckpointError: A part that is missing; says where it was looked for.
    """
    source = Path(path)
    folder = source if source.is_dir() else source.parent
    main = source if source.is_file() else _first(folder, [f'unet/{name}' for name in _UNET_FILES], 'the UNet')
    found = {f'unet/{_bare(k)}': v for k, v in read_published(str(main)).items()}
    if any('.task_to_q.' in key for key in found):
        child = _first(folder, ['single_stream_unet.pth', '../single_stream_unet.pth'], 'the auxiliary stream')
        found.update({f'single_stream_unet/{_bare(k)}': v for k, v in read_published(str(child)).items()})
    vae = _first(folder, ['vae'], "Stable Diffusion 2's autoencoder")
    network = require_diffusers().AutoencoderKL.from_pretrained(str(vae))
    found.update({f'vae/{k}': v for k, v in network.state_dict().items()})
    text = _first(folder, ['tokens.pt', 'text_encoder'], 'the encoded task names, or what encodes them')
    if text.suffix == '.pt':
        table = read_state(text)
    else:
        prompts = registered_prompts()
        table = dict(zip(prompts, encode_text(str(folder), prompts)))
    found.update({f'tokens/{prompt}': value for prompt, value in table.items()})
    return found


def registered_prompts() -> list[str]:
    """Prompts of all kinds of task that there are; published code calls a task by its prompt."""
    TASKS.import_from_location()
    kinds = TASKS.module_dict.values()
    return sorted({kind.prompt or kind.default_name.replace('_', ' ') for kind in kinds})


def _bare(key: str) -> str:
    return key[7:] if key.startswith('module.') else key


def _first(folder: Path, names: list[str], what: str) -> Path:
    """The first of ``names`` that exists in ``folder``."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise CheckpointError(f'{what}: none of {names} in {folder}')


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a release.

    Args:
        state: What :func:`read_release` returned, or a main stream's published state dict (the parts then are the UNet
            and its task attention), with or without the ``module.`` of distributed training.
        names: Published task names → names in this model.

    Returns:
        Renamed state dict, dropped keys (tokens of tasks the model lacks), and unknown keys (task attention of such).
    """
    renamed: dict[str, Tensor] = {}
    dropped, unknown = [], []
    for key, value in state.items():
        part, _, bare = key.partition('/') if '/' in key else ('unet', '', _bare(key))
        if part == 'single_stream_unet':
            renamed[f'auxiliary.{bare}'] = value
        elif part == 'vae':
            renamed[f'autoencoder.network.{bare}'] = value
        elif part == 'tokens':
            own = names.get(bare.replace(' ', '_'))
            if own is None:
                dropped.append(key)
                continue
            if len(value) > TOKEN_ROOM:
                raise CheckpointError(
                    f'{key}: {len(value)} tokens, the model has room for {TOKEN_ROOM}: give a shorter prompt'
                )
            renamed[f'tokens.token_{own}'] = F.pad(value, (0, 0, 0, TOKEN_ROOM - len(value)))
            renamed[f'tokens.length_{own}'] = torch.tensor(len(value))
        elif not re.search(r'\.attn1\.(task_|to_out_task)', bare):
            renamed[f'unet.{bare}'] = value
        elif (own := _own_name(bare, names)) is not None:
            renamed[own] = value
        else:
            unknown.append(key)
    return renamed, dropped, unknown


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


def export_folder(model: torch.nn.Module, target: str | Path) -> list[str]:
    """Write a model's networks into a folder in diffusers' form.

    ``unet`` and ``vae`` load with ``UNet2DConditionModel.from_pretrained`` and ``AutoencoderKL.from_pretrained`` (a
    two-stream model's task attention is left out by them; it is in the same file under its published names);
    ``single_stream_unet.pth`` and ``tokens.pt`` complete what :func:`read_release` reads.

    Args:
        model: A ``LatentMultiTaskModel`` with the autoencoder of diffusers.
        target: The folder; must not exist.

    Returns:
        What was written.
    """
    from safetensors.torch import save

    target = Path(target)
    target.mkdir(parents=True)
    own = {name: task.prompt.replace(' ', '_') for name, task in model.tasks.items()}
    parts = export(model.state_dict(), {published: name for name, published in own.items()})
    for part, network in (('unet', model.unet), ('vae', getattr(model.autoencoder, 'network', None))):
        if part not in parts or network is None:
            continue
        write_atomically(target / part / 'config.json', json.dumps(dict(network.config), indent=2, default=list))
        write_atomically(target / part / _UNET_FILES[0], save({k: v.contiguous() for k, v in parts[part].items()}))
    if 'single_stream_unet' in parts:
        write_atomically(target / 'single_stream_unet.pth', lambda file: torch.save(parts['single_stream_unet'], file))
    tokens = {published.replace('_', ' '): model.tokens(name).detach().clone() for name, published in own.items()}
    write_atomically(target / 'tokens.pt', lambda file: torch.save(tokens, file))
    return sorted(str(path.relative_to(target)) for path in target.rglob('*') if path.is_file())


@CONVERTERS.register_module('stablemtl')
class StableMTLConverter(Converter):
    """Reads the published StableMTL checkpoints."""

    ordered = False
    read = staticmethod(read_release)
    convert = staticmethod(convert)
