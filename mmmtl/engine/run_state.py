"""What the checkpoint of a run holds: every field that a resumed run reads is looked at before any of it is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.logging import HistoryBuffer
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmmtl.engine.separate_optimizers import CombinedOptimizer

_LARGEST = 2**63
Check = Callable[[Any], bool]
_SOLVERS = {'state', 'param_groups', 'base_param_settings', 'loss_scaler', 'balancer', 'gathered', 'tasks'}


def find_fault(content: Any) -> str | None:
    """The first field of a checkpoint that no run can have written, with what was expected there; None where all are right."""
    return next(_faults(content), None)


def find_difference(content: Mapping[str, Any], wrapper: Any, network: nn.Module) -> str | None:
    """The first field of a checkpoint that the optimiser or the network of this run cannot go on with, or None.

    Args:
        content: A checkpoint in which :func:`find_fault` finds nothing.
        wrapper: The optimiser's wrapper; only a single one is compared.
        network: The network, without wrappers of distributed runs.
    """
    saved, own = content.get('optimizer') or {}, wrapper.optimizer if isinstance(wrapper, OptimWrapper) else None
    pairs = [(saved, own)] if own is not None and 'param_groups' in saved else []
    if isinstance(own, CombinedOptimizer) and 'optimizers' in saved:
        if len(saved['optimizers']) != len(own.optimizers):
            return f'optimizer: {len(saved["optimizers"])} optimisers, {len(own.optimizers)} here'
        pairs = list(zip(saved['optimizers'], own.optimizers))
    for found in (difference for pair in pairs for difference in _other_optimizer(*pair)):
        return found
    shapes = {name: value.shape for name, value in network.named_parameters()}
    rank = get_rank()
    gathered = (content.get('gathered_gradients') or [])[rank : rank + 1]  # a sharded run has shapes of each rank's own
    for name, value in gathered[0].items() if gathered else ():
        if shapes.get(name) != value.shape:
            here = f'{tuple(shapes[name])} here' if name in shapes else 'no parameter here'
            return f'gathered_gradients.{rank}.{name}: a gradient of {tuple(value.shape)}, {here}'
    return None


# ---- kinds of values -------------------------------------------------------------------------------------------------
def _is_number(value: Any) -> bool:
    """A real number that is one."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not _is_flag(value) and not math.isnan(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _is_count(value: Any) -> bool:
    """A whole number of at least 0."""
    return isinstance(value, (int, np.integer)) and not _is_flag(value) and 0 <= int(value) < _LARGEST


def _is_rate(value: Any) -> bool:
    """A finite number of at least 0, also as a tensor of one element."""
    value = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    return _is_number(value) and 0 <= value < math.inf


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _list_of(check: Check) -> Check:
    return lambda value: isinstance(value, (list, tuple)) and all(map(check, value))


def _named(check: Check) -> Check:
    return lambda value: isinstance(value, Mapping) and all(map(_is_text, value)) and all(map(check, value.values()))


def _or_none(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout is torch.strided


def _is_history(value: Any) -> bool:
    """A log history of mmengine, and its two rows of numbers as long."""
    rows: list[Any] = (
        [vars(value).get(name) for name in ('_log_history', '_count_history')] if type(value) is HistoryBuffer else []
    )
    sound = all(isinstance(row, np.ndarray) and row.ndim == 1 and row.dtype.kind in 'biuf' for row in rows)
    return bool(rows) and sound and len(rows[0]) == len(rows[1]) and _is_count(vars(value).get('max_length'))


_META: dict[str, tuple[str, Check]] = {
    'epoch': ('a whole number of at least 0', _is_count),
    'iter': ('a whole number of at least 0', _is_count),
    'seed': ('a whole number from 0 to 2**32 - 1, or None', _or_none(lambda v: _is_count(v) and v < 2**32)),
}
_RUNTIME: dict[str, tuple[str, Check]] = {
    'epoch': ('a whole number of at least 0', _is_count),
    'iter': ('a whole number of at least 0', _is_count),
    'seed': _META['seed'],
    'nonfinite_skipped': ('a whole number of at least 0', _is_count),
    'best_score': ('a number', _is_number),
    'best_ckpt': ('a path, or None', _or_none(_is_text)),
    'last_ckpt': ('a path, or None', _or_none(_is_text)),
    'keep_ckpt_ids': ('a list of whole numbers', _list_of(_is_count)),
    'validation_due': ('true or false', _is_flag),
}
_SCHEDULE: dict[str, tuple[str, Check]] = {
    'begin': ('a whole number of at least 0', _is_count),
    'end': ('a whole number of at least 0', _is_count),
    'last_step': ('a whole number of at least -1', lambda v: _is_count(v) or v == -1),
    '_global_step': ('a whole number of at least 0', _is_count),
    'base_values': ('a list of numbers', _list_of(_is_number)),
    '_last_value': ('a list of numbers', _list_of(_is_number)),
    'by_epoch': ('true or false', _is_flag),
    'param_name': ('text', _is_text),
}
_GROUP: dict[str, tuple[str, Check]] = {
    'lr': ('a number of at least 0', _is_rate),
    'weight_decay': ('a number of at least 0', _is_rate),
    'initial_lr': ('a number of at least 0', _is_rate),
    'params': ('a list of places', _list_of(lambda v: _is_count(v) or _is_text(v))),
}


# ---- fields ----------------------------------------------------------------------------------------------------------
def _wrong(place: str, expected: str, value: Any) -> str:
    return f'{place}: expected {expected}, found {value!r:.60}'


def _check(
    place: str, value: Any, fields: Mapping[str, tuple[str, Check]], needed: tuple[str, ...] = ()
) -> Iterator[str]:
    """Faults of a mapping some of whose fields are known."""
    if not isinstance(value, Mapping):
        yield _wrong(place, 'a mapping', value)
        return
    yield from (f'{place}.{name} is missing' for name in needed if name not in value)
    for name, entry in value.items():
        expected, right = fields.get(name, ('', None))
        if right is not None and not right(entry):
            yield _wrong(f'{place}.{name}', expected, entry)


def _faults(content: Any) -> Iterator[str]:
    if not isinstance(content, Mapping):
        yield _wrong('the file', 'a mapping', content)
        return
    yield from _check('meta', content.get('meta'), _META, ('epoch', 'iter'))
    tensors = _named(_is_tensor)
    if not content.get('state_dict') or not tensors(content['state_dict']):
        yield _wrong('state_dict', 'tensors by name', content.get('state_dict'))
    yield from _history(content.get('message_hub'))
    if 'optimizer' in content:
        yield from _optimizers('optimizer', content['optimizer'])
    if 'param_schedulers' in content:
        yield from _schedules('param_schedulers', content['param_schedulers'])
    if 'random_state' in content:
        yield from _random_state(content['random_state'])
    for name, right in (('gathered_gradients', _list_of(tensors)), ('ema_state_dict', tensors)):
        if name in content and not right(content[name]):
            yield _wrong(name, 'tensors by name', content[name])


def _history(hub: Any) -> Iterator[str]:
    """Faults of the state of mmengine's message hub, of which every entry is used as it is."""
    parts = ('log_scalars', 'runtime_info', 'resumed_keys')
    kinds: dict[str, tuple[str, Check]] = {
        'log_scalars': ('log histories by name', _named(_is_history)),
        'resumed_keys': ('true or false by name', _named(_is_flag)),
    }
    yield from _check('message_hub', hub, kinds, parts)
    info = hub['runtime_info']
    fields = dict(_RUNTIME)
    for name in info if isinstance(info, Mapping) else ():
        for start in ('best_score', 'best_ckpt'):
            if str(name).startswith(f'{start}_'):
                fields[name] = _RUNTIME[start]
    yield from _check('message_hub.runtime_info', info, fields)
    count: tuple[str, Check] = ('a whole number of at least 0, or None', _or_none(_is_count))
    stream = info.get('train_stream', {})
    size: tuple[str, Check] = ('a whole number of at least 1', lambda value: _is_count(value) and value > 0)
    known = dict(consumed=count, seed=count, batches=size, iterations=size, samples=size, processes=size)
    yield from _check('message_hub.runtime_info.train_stream', stream, known)
    yield from (f'message_hub.runtime_info.train_stream.{name!r:.40} is not known' for name in set(stream) - set(known))


def _optimizers(place: str, value: Any) -> Iterator[str]:
    """Faults of the state of one optimiser, or of several by name."""
    if not isinstance(value, Mapping) or not value:
        yield _wrong(place, 'the state of an optimiser', value)
    elif 'param_groups' in value or 'state' in value:
        yield from _optimizer(place, value)
    elif isinstance(value.get('optimizers'), (list, tuple)):  # of a CombinedOptimizer
        for number, state in enumerate(value['optimizers']):
            yield from _optimizer(f'{place}.optimizers.{number}', state)
    else:
        for name, state in value.items():
            yield from _optimizer(f'{place}.{name}', state)


def _optimizer(place: str, value: Any) -> Iterator[str]:
    yield from _check(place, value, {}, ('state', 'param_groups'))
    yield from (f'{place}.{name} is not known' for name in value if name not in _SOLVERS)
    groups = value['param_groups']
    if not isinstance(groups, (list, tuple)) or not groups:
        yield _wrong(f'{place}.param_groups', 'a list of groups', groups)
        return
    for number, group in enumerate(groups):
        yield from _check(f'{place}.param_groups.{number}', group, _GROUP, ('params', 'lr'))
    places = {name for group in groups for name in group['params']}
    if not isinstance(value['state'], Mapping):
        yield _wrong(f'{place}.state', 'a mapping', value['state'])
        return
    for key, state in value['state'].items():
        here = f'{place}.state.{key}'
        yield from _check(here, state, dict(step=('a count of steps', _is_rate)))
        if key not in places:
            yield f'{here}: no group has such a parameter'


def _schedules(place: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, schedules in value.items():
            yield from _schedules(f'{place}.{name}', schedules)
    elif isinstance(value, (list, tuple)):
        for number, schedule in enumerate(value):
            yield from _check(f'{place}.{number}', schedule, _SCHEDULE)
    else:
        yield _wrong(place, 'a list of schedules', value)


def _random_state(value: Any) -> Iterator[str]:
    """Faults of what :func:`mmmtl.engine.random_state.capture` gave on each rank: put back, it must be taken."""
    ranks = value.get('ranks') if isinstance(value, Mapping) else None
    if not isinstance(ranks, (list, tuple)) or not ranks:
        yield _wrong('random_state', 'the states of all ranks', value)
        return
    generators: dict[str, tuple[str, Check]] = {
        'torch': ('the state of a generator', _is_generator),
        'cuda': ('the state of a generator', _is_generator),
        'noise': ('states of generators by name', _named(_is_generator)),
        'numpy': ('the state of a generator', lambda v: isinstance(v, (list, tuple)) and _is_numpy_state(*v)),
        'python': ('the state of a generator', lambda v: isinstance(v, (list, tuple)) and _is_python_state(*v)),
    }
    for rank, state in enumerate(ranks):
        yield from _check(f'random_state.ranks.{rank}', state, generators, ('torch', 'numpy', 'python', 'noise'))


def _is_generator(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.uint8 and value.ndim == 1


def _is_numpy_state(kind: Any = None, keys: Any = None, *rest: Any) -> bool:
    sound = kind == 'MT19937' and isinstance(keys, Tensor) and keys.shape == (624,) and len(rest) == 3
    return sound and _is_count(rest[0]) and rest[0] <= 624 and _is_count(rest[1]) and _is_number(rest[2])


def _is_python_state(version: Any = None, state: Any = None, *rest: Any) -> bool:
    sound = version == 3 and isinstance(state, Tensor) and state.shape == (625,) and len(rest) == 1
    return sound and not state.is_floating_point() and _or_none(_is_number)(rest[0])


# ---- this run's optimiser --------------------------------------------------------------------------------------------
def _other_optimizer(saved: Mapping[str, Any], own: torch.optim.Optimizer) -> Iterator[str]:
    """What in a saved state the optimiser of this run does not have."""
    kind = type(own).__name__
    if len(saved['param_groups']) != len(own.param_groups):
        yield f'optimizer.param_groups: {len(saved["param_groups"])} groups, {len(own.param_groups)} here'
        return
    known, like_weights = _state_of(own)
    for number, (theirs, ours) in enumerate(zip(saved['param_groups'], own.param_groups)):
        here = f'optimizer.param_groups.{number}'
        if len(theirs['params']) != len(ours['params']):
            yield f'{here}.params: {len(theirs["params"])} parameters, {len(ours["params"])} here'
        for name, value in theirs.items():
            if name not in ours and not name.startswith('initial_'):
                yield f'{here}.{name}: {kind} has no such option'
            elif name != 'params' and name in ours and not _alike(ours[name], value):
                yield f'{here}.{name}: expected something like {ours[name]!r:.40}, found {value!r:.40}'
        for key, weight in zip(theirs['params'], ours['params']):
            for name, value in saved['state'].get(key, {}).items():
                place = f'optimizer.state.{key}.{name}'
                if known and name not in known:
                    yield f'{place}: {kind} keeps {sorted(known)} alone'
                elif (
                    name in like_weights and not isinstance(key, str) and getattr(value, 'shape', None) != weight.shape
                ):
                    yield f'{place}: expected a tensor of {tuple(weight.shape)}, found {_form(value)}'


def _alike(own: Any, other: Any) -> bool:
    """Whether a value may take the place of another: number for number, switch for switch, as many in a list."""
    if own is None or other is None or isinstance(own, Tensor):
        return other is None or not isinstance(other, (str, Mapping))
    if isinstance(own, (list, tuple)):
        return isinstance(other, (list, tuple)) and len(own) == len(other) and all(map(_alike, own, other))
    if _is_flag(own) or _is_flag(other):
        return _is_flag(own) == _is_flag(other)
    return _is_number(other) or isinstance(other, Tensor) if _is_number(own) else type(own) is type(other)


def _form(value: Any) -> str:
    return f'one of {tuple(value.shape)}' if isinstance(value, Tensor) else repr(value)[:40]


def _state_of(optimizer: torch.optim.Optimizer) -> tuple[set[str], set[str]]:
    """Names in the state of one weight, and those of them that have its shape: what one step of the optimiser leaves."""
    weight = nn.Parameter(torch.zeros(2, 3))
    weight.grad = torch.zeros(2, 3)
    try:
        group = {k: v for k, v in optimizer.param_groups[0].items() if k != 'params'}
        one = type(optimizer)(
            [dict(group, params=[weight])], **{k: optimizer.defaults[k] for k in ('lr',) if k in optimizer.defaults}
        )
        with torch.enable_grad():
            one.step()
        state = one.state[weight]
    except Exception:  # an optimiser that wants more than a weight is not compared
        return set(), set()
    return set(state), {name for name, value in state.items() if getattr(value, 'shape', None) == weight.shape}
