"""Checkpoints: read without running their code, and refused with a reason when they are of another network."""

from __future__ import annotations

import difflib
import io
import json
import logging
import os
import os.path as osp
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from mmmtl.errors import CheckpointError
from mmmtl.tasks.agreement import other_order
from mmmtl.utils.files import write_atomically
from mmmtl.utils.models import unwrap_model
from mmmtl.utils.stored_config import config_to_json, read_stored_config
from mmmtl.utils.tensor_files import find_state, read_safetensors, read_torch, state_digest, with_digest

_SHOWN = 3


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a ``.pth`` (with ``weights_only=True``: no code of the file runs), a ``.safetensors`` file, or a folder of parts.

    Returns:
        At least ``state_dict``; a file of this package's training has ``meta``, ``optimizer``, ... besides.
        The text metadata of a ``.safetensors`` file is its ``meta``.

    Raises:
        CheckpointError: Missing or broken file, foreign pickle, or nothing in it that could be a state dict.
    """
    path = osp.expanduser(str(path))
    if osp.isfile(osp.join(path, 'rest.pth')):  # torch.distributed.checkpoint takes its time to import
        from mmmtl.engine.sharded_checkpoint import read_whole

        return read_whole(path)
    if not osp.isfile(path):
        folder = path if osp.isdir(path) else osp.dirname(path) or '.'
        found = os.listdir(folder) if osp.isdir(folder) else []
        files = sorted(f for f in found if f.endswith(('.pth', '.safetensors', '.tar')))
        listed = f' In {folder} there are {files[:8]}.' if files else ''
        raise CheckpointError(f"checkpoint '{path}' {'is a folder' if osp.isdir(path) else 'does not exist'}.{listed}")
    if path.endswith('.safetensors'):
        state, meta = read_safetensors(path)
        return {'state_dict': state, 'meta': meta}
    content = read_torch(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(f"checkpoint '{path}' holds {type(content).__name__}, expected a dict with 'state_dict'")
    if 'state_dict' not in content:
        if not content or not all(isinstance(v, Tensor) for v in content.values()):
            raise CheckpointError(
                f"checkpoint '{path}' has no 'state_dict', only {sorted(map(str, content))[:8]}. Checkpoints "
                'of published code go through tools/model_converters/convert_upstream.py.'
            )
        content = {'state_dict': content}
    return {**content, 'state_dict': find_state({'state_dict': content['state_dict']}, path)}


def write_state(path: str, state: Mapping[str, Tensor], meta: Mapping[str, str]) -> str:
    """Write a state dict and its metadata as ``.safetensors`` or ``.pth``, as ``path`` ends, with a digest; return ``path``."""
    if str(path).endswith('.safetensors'):
        from safetensors.torch import save

        plain = {k: v.clone().contiguous() for k, v in state.items()}
        return write_atomically(path, save(plain, {**meta, 'sha256': state_digest(plain, meta)}))
    buffer = io.BytesIO()
    torch.save(dict(state_dict=dict(state), meta=dict(meta)), buffer)
    return write_atomically(path, with_digest(buffer.getvalue()))


def load_checkpoint(model: nn.Module, path: str, training: bool = False) -> dict[str, Any]:
    """Load a checkpoint into ``model``; every parameter must be there, in its shape.

    Args:
        model: The network, possibly inside a distributed wrapper.
        path: ``.pth`` or ``.safetensors``.
        training: Insist on the auxiliary heads, too. Prediction does not use them (a decoder's
            ``aux_modules``), so that a published checkpoint may go without.

    Returns:
        The checkpoint's content.

    Raises:
        CheckpointError: Unreadable file, or one of another network: counts and examples of missing,
            unexpected and mismatched keys, where the checkpoint's own config differs, and the remedy; or one whose tasks
            or classes come in another order.
    """
    content = read_checkpoint(path)
    network = unwrap_model(model)
    fit = compare_state(network, content, training)
    if not fit.exact:
        raise CheckpointError(fit.report(str(path)))
    if apart := told_order(fit, path):
        raise CheckpointError(apart)
    tell_broken(fit, path)
    network.load_state_dict(plain_state(content), strict=False)
    return content


def told_order(fit: Fit, path: str) -> str:
    """What is wrong where parameters fit and their tasks or classes come in another order than in the training, else ''."""
    text = (fit.content.get('meta') or {}).get('cfg')
    if not str(text).lstrip().startswith('{'):  # Python, as mmengine writes it, has its names sorted
        return ''
    stored = read_stored_config(text)
    apart = other_order((stored.get('model') or {}).get('tasks'), getattr(fit.network, 'tasks', None))
    if not apart:
        return ''
    return (
        f"checkpoint '{path}' was trained with {apart}: its parameters fit, but would be taken for others. Write them in "
        'the order of the training'
    )


def tell_broken(fit: Fit, path: str) -> None:
    """Warn of numbers in a checkpoint that are not finite."""
    state = plain_state(fit.content)
    broken = [key for key in fit.matched if state[key].is_floating_point() and not torch.isfinite(state[key]).all()]
    if broken:
        print_log(
            f"checkpoint '{path}': numbers that are not finite in {len(broken)} of {len(state)} parameters and buffers, "
            f'for example {broken[0]}: its training diverged, and so will be what it predicts',
            'current',
            logging.WARNING,
        )


def plain_state(content: Mapping) -> dict[str, Tensor]:
    """The state dict of a checkpoint without the prefix of a distributed wrapper."""
    return {k[7:] if k.startswith('module.') else k: v for k, v in content['state_dict'].items()}


def auxiliary_prefixes(network: nn.Module) -> tuple[str, ...]:
    """Prefixes of the parameters that work in training alone."""
    decoder = getattr(network, 'decoder', None)
    return tuple(f'decoder.{name}.' for name in getattr(decoder, 'aux_modules', ()))


@dataclass
class Fit:
    """How a checkpoint's parameters and a network's compare.

    Attributes:
        network: The network.
        content: The checkpoint's content.
        matched, missing, unexpected, mismatched: Keys in both with equal shape; in the network alone; in
            the checkpoint alone; in both with different shapes.
    """

    network: nn.Module
    content: Mapping
    matched: list[str]
    missing: list[str]
    unexpected: list[str]
    mismatched: list[str]

    @property
    def exact(self) -> bool:
        """Every parameter has its counterpart."""
        return not (self.missing or self.unexpected or self.mismatched)

    def summary(self) -> str:
        """Counts and examples, one line per kind."""
        given, own = plain_state(self.content), self.network.state_dict()
        kinds = (
            ('missing in the checkpoint', self.missing, lambda k: k),
            ('unknown to the network', self.unexpected, lambda k: k),
            ('of another shape', self.mismatched, lambda k: f'{k} {_form(given[k])} instead of {_form(own[k])}'),
        )
        lines = [f'{len(self.matched)} parameters and buffers fit']
        for title, keys, show in kinds:
            if keys:
                more = f', and {len(keys) - _SHOWN} more' if len(keys) > _SHOWN else ''
                lines.append(f'  {len(keys)} {title}: ' + '; '.join(show(k) for k in keys[:_SHOWN]) + more)
        if self.missing and self.unexpected:
            near = difflib.get_close_matches(self.unexpected[0], self.missing, n=1, cutoff=0.8)
            if near:
                lines.append(f'  perhaps renamed: {self.unexpected[0]} → {near[0]}')
        return '\n'.join(lines)

    def report(self, path: str) -> str:
        """The error text: what does not fit, where the configs differ, what to do."""
        lines = [f"checkpoint '{path}' is not of this network ({type(self.network).__name__}): {self.summary()}"]
        differences = config_differences(self.content, self.network)
        if differences:
            lines.append('The checkpoint was trained with other settings: ' + '; '.join(differences[:4]) + '.')
        lines.append(
            'Use the config the checkpoint was trained with (it lies in its work dir), or --cfg-options to match it. '
            'Checkpoints of published code go through tools/model_converters/convert_upstream.py.'
        )
        return '\n'.join(lines)


def _form(value: Tensor) -> str:
    """Shape of a tensor, and its type where that is none of numbers with a fraction."""
    return f'{tuple(value.shape)}' + ('' if value.is_floating_point() else f' of {value.dtype}'.replace('torch.', ''))


def compare_state(network: nn.Module, content: Mapping, training: bool = False) -> Fit:
    """Compare a checkpoint with a network; see :func:`load_checkpoint` for ``training``."""
    given, own = plain_state(content), network.state_dict()
    optional = () if training else auxiliary_prefixes(network)
    both = {
        k: given[k].shape == v.shape and given[k].is_floating_point() >= v.is_floating_point()
        for k, v in own.items()
        if k in given
    }
    return Fit(
        network,
        content,
        matched=[k for k, fits in both.items() if fits],
        missing=[k for k in own if k not in given and not k.startswith(optional)],
        unexpected=[k for k in given if k not in own],
        mismatched=[k for k, fits in both.items() if not fits],
    )


def config_differences(content: Mapping, network: nn.Module) -> list[str]:
    """Where the model section that a checkpoint remembers differs from the network's own config."""
    own = getattr(network, 'cfg', None)
    theirs = read_stored_config((content.get('meta') or {}).get('cfg'))
    if not theirs or own is None:
        return []
    found: list[str] = []
    ours = read_stored_config(config_to_json(own))  # in the same form: JSON has lists for tuples
    _compare(json.loads(json.dumps(theirs.get('model', {}), default=str)), ours.get('model', {}), 'model', found)
    return found


def _compare(theirs: Any, ours: Any, path: str, found: list[str]) -> None:
    """Collect the leaves that differ."""
    if isinstance(theirs, Mapping) and isinstance(ours, Mapping):
        for key in dict.fromkeys([*theirs, *ours]):
            _compare(theirs.get(key, '(nothing)'), ours.get(key, '(nothing)'), f'{path}.{key}', found)
    elif theirs != ours:
        found.append(f'{path} was {theirs!r:.60}, here {ours!r:.60}')
