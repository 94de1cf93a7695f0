"""What every data set insists on once its samples are listed: ids, pairs where pairs are wanted, labels for every task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from mmmtl.errors import ConfigError, suggest

if TYPE_CHECKING:
    from .base import MTLDataset


def check_ids(dataset: MTLDataset, ids: Sequence[str]) -> None:
    """Refuse ids that occur twice or lead out of the data set's folder."""
    counts = Counter(ids)
    name = type(dataset).__name__
    twice = next((i for i, n in counts.items() if n > 1), None)
    if twice is not None:
        raise ConfigError(f"{name}: sample id '{twice}' occurs {counts[twice]} times; ids must be unique")
    for i in counts:
        if i.startswith('/') or '..' in i.split('/') or '\0' in i:
            raise ConfigError(f"{name}: sample id '{i}' leads out of {dataset.data_root!r}")


def check_pairs(dataset: MTLDataset, single: str | None) -> None:
    """Refuse a sample of one frame, where pairs are wanted.

    Args:
        dataset: The data set.
        single: A sample without a second frame; None where every sample has one.
    """
    if single is None or not dataset.gives_pairs():
        return
    moving = [name for name, task in dataset.tasks.items() if task.frames > 1]
    raise ConfigError(
        f"{type(dataset).__name__}: sample '{single}' is a single frame, but a pair is wanted"
        + (f' (frames={dataset.frames})' if dataset.frames else f' by the tasks {moving}')
        + ": say frames=1 in the data set, and model.second_frame='duplicate' or model.frames=1 in the model"
    )


def check_labels(dataset: MTLDataset, samples: int, there: Collection[str], chosen: Collection[str]) -> None:
    """Refuse a task without a label, unless that is allowed.

    Args:
        dataset: The data set.
        samples: Number of samples.
        there: Tasks of which a label exists.
        chosen: Tasks of which the label sampler has chosen one.
    """
    sources, remarks = dataset.sources(), dataset.remarks
    allowed = dataset.tasks if dataset.allow_unlabelled is True else (dataset.allow_unlabelled or ())
    for name, task in dataset.tasks.items():
        if name in allowed or name in chosen:
            continue
        noted = ''.join(f' ({remark.rstrip(".")})' for remark in remarks if remark.startswith(f"task '{name}'"))
        if task.source not in sources:
            near = suggest(task.source, sources)
            why = f"{type(dataset).__name__} has no label '{task.source}' (it has {sources}).{near}"
        elif name in there:
            why = f'{type(dataset.label_sampler).__name__} gives it to no sample.'
        else:
            why = f"no sample of split '{dataset.split}' under {dataset.data_root!r} has a label file for it."
        raise ConfigError(
            f"tasks['{name}']: not one of {samples} samples is labelled: {why}{noted} Remove the task, or "
            f"say allow_unlabelled=('{name}',) if that is meant."
        )
