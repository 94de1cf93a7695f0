"""Numbers of a config that cannot be meant: told before anything is built, with their place and what is possible."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mmmtl.utils.trees import MISSING, at, items, join

Limit = tuple[Callable[[Any], bool], str]
MOST_WORKERS = max(64, 4 * (os.cpu_count() or 1))
"""More processes than this load nothing faster, and fill the memory."""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(low: int, high: float = math.inf, also: tuple[Any, ...] = ()) -> Limit:
    def fits(value: Any) -> bool:
        return value in also or (isinstance(value, int) and not isinstance(value, bool) and low <= value <= high)

    said = f'a whole number of at least {low}' if high == math.inf else f'a whole number from {low} to {high}'
    return fits, said + ''.join(f', or {value}' for value in also)


def _real(low: float, high: float = math.inf, above: bool = False, below: bool = False) -> Limit:
    def fits(value: Any) -> bool:
        return (
            _is_number(value)
            and (low < value if above else low <= value)
            and (value < high if below else value <= high)
        )

    if high == math.inf:
        return fits, f'a number above {low:g}' if above else f'a number of at least {low:g}'
    return fits, f'a number {"above" if above else "from"} {low:g} {"and below" if below else "to"} {high:g}'


def _or(value: Any, limit: Limit) -> Limit:
    return lambda found: found is value or limit[0](found), f'{limit[1]}, or {value}'


def _one_of(*values: Any) -> Limit:
    return lambda value: value in values, f'one of {values}'


_SECTIONS: dict[str, dict[str, Limit]] = {
    **{
        f'{part}_dataloader': {
            'batch_size': _whole(1),
            'num_workers': _whole(0, MOST_WORKERS),
            'prefetch_factor': _or(None, _whole(1)),
            'timeout': _real(0),
            'length': _whole(1),
            'times': _whole(1),
            'repeats': _whole(1),
            'prob': _real(0, 1),
        }
        for part in ('train', 'val', 'test')
    },
    'optim_wrapper': {
        'accumulative_counts': _whole(1),
        'max_norm': _real(0, above=True),
        'clip_value': _real(0, above=True),
        'lr': _real(0),
        'weight_decay': _real(0),
        'eps': _real(0),
        'momentum': _real(0, 1, below=True),
        'lr_mult': _real(0),
        'decay_mult': _real(0),
    },
    'train_cfg': {
        'max_iters': _or(None, _whole(1)),
        'max_epochs': _or(None, _whole(1)),
        'val_interval': (_whole(1)[0], 'a whole number of at least 1 (val_cfg=None validates never)'),
        'val_begin': _whole(0),
    },
    'param_scheduler': {
        'begin': _whole(0),
        'end': _or(None, _whole(1)),
        'power': _real(0),
        'eta_min': _or(None, _real(0)),
        'T_max': _or(None, _whole(1)),
        'start_factor': _real(0, 1, above=True),
        'gamma': _real(0),
    },
    **{
        section: {
            'interval': _whole(1, also=(-1,)),
            'max_keep_ckpts': _whole(1, also=(-1,)),
            'max_consecutive': _whole(1),
            'patience': _whole(1),
            'num_val': _whole(0),
            'num_train': _whole(0),
        }
        for section in ('default_hooks', 'custom_hooks')
    },
    'model': {
        **dict.fromkeys(('channels', 'steps', 'num_blocks', 'num_heads', 'embed_dim'), _or(None, _whole(1))),
        **dict.fromkeys(('drop_path_rate', 'drop_rate', 'dropout'), _real(0, 1, below=True)),
        'loss_weight': _real(0),
        'noise_seed': _or(None, _whole(0, 2**62)),
    },
    'auto_scale_lr': {'base_batch_size': _whole(1)},
}
"""Per section the arguments of these names, wherever in it they stand."""
_PLACES: dict[str, Limit] = {
    'randomness.seed': _or(None, _whole(0, 2**32 - 1)),
    'log_level': (
        lambda v: isinstance(v, int) or v in ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL'),
        "one of ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')",
    ),
    'env_cfg.mp_cfg.mp_start_method': _one_of('fork', 'spawn', 'forkserver'),
    'env_cfg.dist_cfg.timeout': _real(0, above=True),
}
"""Single places."""


def impossible_numbers(cfg: Mapping[str, Any]) -> list[str]:
    """What is wrong with the numbers of a config, a line for each: ``PLACE must be WHAT, got VALUE``."""
    wrong = [
        f'{path} must be {expected}, got {value!r}'
        for path, (fits, expected) in _PLACES.items()
        if (value := at(cfg, path)) is not MISSING and not fits(value)
    ]
    for section, limits in _SECTIONS.items():
        wrong += _inside(cfg.get(section), section, limits)
    return wrong


def _inside(node: Any, path: str, limits: Mapping[str, Limit]) -> Iterator[str]:
    for key, value in items(node):
        here = join(path, key)
        if isinstance(value, (Mapping, list, tuple)):
            yield from _inside(value, here, limits)
        elif isinstance(node, Mapping) and key in limits and isinstance(value, (int, float, str)):
            fits, expected = limits[key]
            if not fits(value):
                yield f'{here} must be {expected}, got {value!r}'
