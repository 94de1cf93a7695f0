"""Which loss is whose, and which parameters tasks share."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn


def task_names(model: nn.Module) -> list[str]:
    """Names of the tasks of a network (not of its wrapper), in order.

    Raises:
        TypeError: A model without tasks.
    """
    tasks = getattr(model, 'tasks', None)
    if not tasks:
        raise TypeError(f'{type(model).__name__} has no tasks: there is nothing to balance')
    return list(tasks)


def group_losses(losses: Mapping[str, Any], names: Sequence[str]) -> tuple[dict[str, Tensor], Tensor | None]:
    """Add up the losses of each task (``loss_depth``, ``aux.loss_depth``, ...), and those of none.

    Entries whose name does not hold ``loss`` are metrics for the log, as in mmengine.
    """
    grouped: dict[str, Tensor] = {}
    rest = None
    for key, value in losses.items():
        if 'loss' not in key:
            continue
        values = value if isinstance(value, (list, tuple)) else [value]
        total = sum(v.mean() for v in values)
        match = re.fullmatch(r'(?:.+\.)?loss_(.+)', key)
        if match and match[1] in names:
            grouped[match[1]] = grouped[match[1]] + total if match[1] in grouped else total
        else:
            rest = total if rest is None else rest + total
    return grouped, rest


def shared_parameters(
    model: nn.Module, names: Sequence[str], shared: Sequence[str] | None = None
) -> dict[str, nn.Parameter]:
    """Trainable parameters that several tasks use.

    Args:
        model: The network, not its wrapper.
        names: Tasks. A parameter whose dotted name has one of them as a part (``decoder.heads.depth.weight``)
            is that task's own.
        shared: Only parameters whose names start with one of these, for example ``('backbone.',)``.
    """
    found = {}
    for name, parameter in model.named_parameters():
        own = set(name.split('.')) & set(names)
        if parameter.requires_grad and not own and (shared is None or name.startswith(tuple(shared))):
            found[name] = parameter
    return found
