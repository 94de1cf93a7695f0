"""Names of published state dicts → names of this package, by rules."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor


def rename_state(
    state: Mapping[str, Tensor], rules: Sequence[tuple[str, str | None]], names: Mapping[str, str]
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    r"""Rename the keys of a published state dict (with or without the ``module.`` of distributed training).

    Args:
        state: Published names → tensors; any part of a checkpoint, also gradients under the same names.
        rules: ``(pattern of the whole published key, replacement)``, tried in order. A replacement of None drops the key.
            A part ``@N`` of the renamed key is the N-th task in the file's own order (for code that numbers its tasks).
        names: Published task names → names in this model, applied to whole parts of the renamed key outside the backbone.

    Returns:
        Renamed state dict, dropped keys, keys that no rule knows or whose new name another key has.
    """
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in rules]
    order = task_order(state, names)
    renamed: dict[str, Tensor] = {}
    dropped, unknown = [], []
    for key, value in state.items():
        bare = key.removeprefix('module.')
        hit = next(((m, new) for pattern, new in compiled if (m := pattern.fullmatch(bare))), None)
        if hit is None:
            unknown.append(key)
        elif hit[1] is None:
            dropped.append(key)
        else:
            new = hit[0].expand(hit[1])
            if not new.startswith('backbone.'):
                new = '.'.join(_task_part(part, order, names) for part in new.split('.'))
            if new in renamed:  # of one name here only one published key can be used
                unknown.append(key)
            else:
                renamed[new] = value
    return renamed, dropped, unknown


def rename_without_class_token(
    state: Mapping[str, Tensor],
    rules: Sequence[tuple[str, str | None]],
    names: Mapping[str, str],
    key: str = 'backbone.body.pos_embed',
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """:func:`rename_state`; slot 0 of a position embedding, of a class token the network never had, is cut off.

    Args:
        state, rules, names: As there.
        key: The position embedding, after renaming.

    Returns:
        As there; the slot is among the dropped keys.
    """
    renamed, dropped, unknown = rename_state(state, rules, names)
    if key in renamed:
        renamed[key] = renamed[key][:, 1:]
        dropped += [f'{name}[:, 0]' for name in state if name.removeprefix('module.') == 'backbone.pos_embed']
    return renamed, dropped, unknown


def task_order(state: Mapping[str, Tensor], names: Mapping[str, str]) -> list[str]:
    """This package's task names in the order in which the keys of a published file name them first.

    Sorted keys (safetensors) say nothing of an order: it then is that of ``names``.
    """
    order: list[str] = []
    for key in state:
        order += [names[part] for part in key.split('.') if part in names and names[part] not in order]
    keys = [key for key in state if not key.endswith('num_batches_tracked')]  # whole numbers come first there
    if keys == sorted(keys):
        return [name for name in dict.fromkeys(names.values()) if name in order]
    return order


def _task_part(part: str, order: Sequence[str], names: Mapping[str, str]) -> str:
    if part.startswith('@'):
        return order[int(part[1:])] if int(part[1:]) < len(order) else part
    return names.get(part, part)
