"""Trees of mappings and lists, as configs are: looking into them, and changed copies of them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

MISSING = object()
_NO_TASK = ('type', 'name', 'data_root', 'work_dir', 'metainfo')
"""Keys whose values are no names of tasks, whatever they say."""


def join(path: str, key: Any) -> str:
    """``a.b`` + ``c`` = ``a.b.c``; list places are numbers as ``--cfg-options`` writes them."""
    return f'{path}.{key}' if path else str(key)


def items(node: Any) -> list[tuple[Any, Any]]:
    """Keys and values of a mapping, places and entries of a list or tuple, nothing of anything else."""
    return list(
        node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    )


def at(node: Any, path: str) -> Any:
    """The value at a path, or :data:`MISSING`."""
    for part in path.split('.'):
        node = next((value for key, value in items(node) if str(key) == part), MISSING)
    return node


def places_of(node: Any, name: str, path: str = '') -> list[str]:
    """Paths of all entries called ``name`` in the mappings of a tree, in its order."""
    found = []
    for key, value in items(node):
        if isinstance(node, Mapping) and key == name:
            found.append(join(path, key))
        found += places_of(value, name, join(path, key))
    return found


def dataset_configs(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """A data loader's or data set's config with its path, and the configs of the data sets that it wraps with theirs."""
    if not isinstance(node, Mapping):
        return
    yield path, node
    yield from dataset_configs(node.get('dataset'), join(path, 'dataset'))
    parts = node.get('datasets')
    for place, part in enumerate(parts if isinstance(parts, (list, tuple)) else ()):
        yield from dataset_configs(part, join(path, f'datasets.{place}'))


def tasks_of(loader: Any) -> dict[str, Any]:
    """Configs of the tasks of all data sets of a data loader's config."""
    return {name: task for _, data in dataset_configs(loader, '') for name, task in (data.get('tasks') or {}).items()}


def merged(old: Any, new: Any) -> Any:
    """``new`` in the place of ``old``; mappings are merged, as between a base and its child."""
    new = copy.deepcopy(new)
    if isinstance(new, Mapping) and isinstance(old, Mapping) and not new.get('_delete_'):
        return Config._merge_a_into_b(new, old)
    return {k: v for k, v in new.items() if k != '_delete_'} if isinstance(new, Mapping) else new


def put(node: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of a tree with a value at a path; mappings that are there already are merged."""
    if not path:
        return merged(node, value)
    head, *rest = path
    if isinstance(node, (list, tuple)):
        return type(node)(put(v, rest, value) if i == int(head) else v for i, v in enumerate(node))
    node = copy.copy(node) if isinstance(node, Mapping) else {}
    node[head] = put(node.get(head), rest, value)
    return node


def plain(node: Any) -> Any:
    """A tree of new dicts, lists and tuples, so that no two places of it are one object."""
    if isinstance(node, Mapping):
        return {k: plain(v) for k, v in node.items()}
    return type(node)(plain(v) for v in node) if isinstance(node, (list, tuple)) else node


def without_tasks(node: Any, dropped: set[str], tasks: Collection[str]) -> Any:
    """A config without references to tasks that are gone.

    Arguments equal to such a name become None; lists lose it, and mappings by task (all of whose keys are names of tasks,
    ``BENCHMARK/TASK/METRIC``, or frames beside them) lose its key. An argument of a component that is called like a task
    (``depth=8`` of a backbone) is none. Data sets all of whose tasks are gone are left out, with their ``weights``. Configs
    of the tasks that stay (below a key ``tasks``) and values of :data:`_NO_TASK` (``data_root='depth'`` is a folder) are
    left alone.

    Args:
        node: The config.
        dropped: Names of the tasks that are gone.
        tasks: Names of all tasks, those that are gone among them.
    """
    if isinstance(node, Mapping):
        by_task = 'type' not in node and all({*str(k).split('/')} & {'image', 'next_image', *tasks} for k in node)
        if isinstance(node.get('datasets'), list) and isinstance(node.get('weights'), (list, tuple)):
            left = [weight for data, weight in zip(node['datasets'], node['weights']) if not _emptied(data, dropped)]
            node = dict(node, weights=left)
        return {
            k: v if k in _NO_TASK else _tasks_left(v, dropped) if k == 'tasks' else without_tasks(v, dropped, tasks)
            for k, v in node.items()
            if not (by_task and {*str(k).split('/')} & dropped) and not _emptied(v, dropped)
        }
    if isinstance(node, (list, tuple)):
        kept_items = [v for v in node if not (isinstance(v, str) and v in dropped) and not _emptied(v, dropped)]
        return type(node)(without_tasks(v, dropped, tasks) for v in kept_items)
    return None if isinstance(node, str) and node in dropped else node


DEALING = ('OneLabel', 'RandomLabels', 'PublishedLabels')
"""Label samplers whose draw depends on which tasks there are."""


def deal_among_all(node: Any, whole: Any, dropped: set[str]) -> Any:
    """A config without some tasks, whose label samplers deal labels as they did with them.

    Args:
        node: What :func:`without_tasks` gave; changed in place.
        whole: The config with all tasks.
        dropped: Names of the tasks that are gone.
    """
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        left, all_ = (
            [
                data
                for _, data in dataset_configs(tree.get(loader), '')
                if data.get('tasks') and not _emptied(data, dropped)
            ]
            for tree in (node, whole)
        )
        for data, before in zip(left, all_):
            stated = (before.get('label_sampler') or {}).get('among')
            for _, part in [('', data), *items(data.get('index'))]:  # each of several indexes may have its own
                sampler = part.get('label_sampler') if isinstance(part, Mapping) else None
                if isinstance(sampler, Mapping) and str(sampler.get('type')).rpartition('.')[2] in DEALING:
                    part['label_sampler'] = dict(sampler, among=list(stated or before['tasks']))
    return node


def _tasks_left(tasks: Any, dropped: set[str]) -> Any:
    return {k: v for k, v in tasks.items() if k not in dropped} if isinstance(tasks, Mapping) else tasks


def _emptied(node: Any, dropped: set[str]) -> bool:
    """Whether a mapping has tasks, and none that stays."""
    tasks = node.get('tasks') if isinstance(node, Mapping) else None
    return isinstance(tasks, Mapping) and bool(tasks) and not _tasks_left(tasks, dropped)
