"""Whether the tasks of a model are those of the data it learns from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.logging import print_log

from mmmtl.errors import suggest
from mmmtl.utils.trees import dataset_configs


def task_problems(cfg: Mapping) -> Iterator[str]:
    """Tasks that the model and a data set understand differently; the log is told of those that only one of them has."""
    model = cfg.get('model')
    tasks = model.get('tasks') if isinstance(model, Mapping) else None
    if not isinstance(tasks, Mapping):
        return
    trained: dict[str, str] = {}
    told: set[str] = set()
    for part in ('train', 'val', 'test'):
        for path, data in dataset_configs(cfg.get(f'{part}_dataloader'), f'{part}_dataloader'):
            named = data.get('tasks')
            for name, task in named.items() if isinstance(named, Mapping) else ():
                if part == 'train':
                    trained.setdefault(name, path)
                if name in tasks and name not in told and (unlike := _unlike(tasks[name], task)):
                    told.add(name)
                    yield (
                        f'model.tasks.{name} and {path}.tasks.{name} differ: {unlike}. Name the tasks once and use them in '
                        f'both places.'
                    )
                for key in sorted(_apart(tasks.get(name), task)):
                    if (place := f'{name}.{key}') not in told:
                        told.add(place)
                        _warn(
                            f'model.tasks.{place}={tasks[name].get(key)!r} and {path}.tasks.{place}={task.get(key)!r}: '
                            "the network goes by the model's, labels and metrics by the data's."
                        )
    for name in trained:
        if name not in tasks:
            _warn(
                f"{trained[name]}.tasks: the model has no task '{name}': its labels teach nothing.{suggest(name, tasks)}"
            )
    for name in tasks:
        if trained and name not in trained:
            _warn(f"model.tasks: no training data are asked for labels of '{name}': it learns nothing.")


def other_order(trained: Any, tasks: Any) -> str:
    """What of the tasks of a training comes in another order in a network, whose parameters then would be taken for others.

    Args:
        trained: ``{name: config}`` of the tasks of the training.
        tasks: ``{name: Task}`` of the network.

    Returns:
        Which tasks, or which task's classes; empty where the order is the same.
    """
    if not isinstance(trained, Mapping) or not isinstance(tasks, Mapping):
        return ''
    before, now = [n for n in trained if n in tasks], [n for n in tasks if n in trained]
    if before != now:
        return f'model.tasks in the order {before}, not {now}'
    for name in now:
        config = trained[name]
        old, new = config.get('classes') if isinstance(config, Mapping) else None, getattr(tasks[name], 'classes', ())
        if isinstance(old, list) and any(c in new and list(new).index(c) != i for i, c in enumerate(old)):
            return f'model.tasks.{name}.classes in the order {old}, not {list(new)}'
    return ''


def _apart(model: Any, data: Any) -> set[str]:
    """Arguments of a task that differ; a loss, which a model alone needs, and a metric that the data tells do not count."""
    if not isinstance(model, Mapping) or not isinstance(data, Mapping):
        return set()
    aside = {'type', 'classes', 'loss', 'loss_weight', *({'metric', 'source'} & set(data))}
    return {key for key in {*model, *data} - aside if model.get(key) != data.get(key)}


def _warn(text: str) -> None:
    print_log(text, logger='current', level=logging.WARNING)


def _unlike(model: Any, data: Any) -> str:
    """In what two configs of a task differ that must not; '' where they agree, or are no configs."""
    if not isinstance(model, Mapping) or not isinstance(data, Mapping):
        return ''
    kinds: list[Any] = [task.get('type') for task in (model, data)]
    classes: list[Any] = [task.get('classes') for task in (model, data)]
    if kinds[0] != kinds[1]:
        return f'{kinds[0]} and {kinds[1]}'
    if None in classes or classes[0] == classes[1]:
        return ''
    counts = [c if isinstance(c, int) else len(c) for c in classes]
    if counts[0] != counts[1]:
        return f'{counts[0]} and {counts[1]} classes'
    names = [list(c) for c in classes if not isinstance(c, int)]
    return f'the classes are {names[0]} and {names[1]}' if len(names) == 2 and names[0] != names[1] else ''
