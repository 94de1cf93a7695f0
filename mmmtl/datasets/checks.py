"""What every data set insists on once its samples are listed: ids, pairs where pairs are wanted, labels for every task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmmtl.errors import ConfigError, suggest

from .transforms.formatting import PackMTLInputs

if TYPE_CHECKING:
    from .base import MTLDataset


def check_pipeline(steps: Sequence[Any], test_mode: bool) -> list[str]:
    """Refuse steps that labels would not follow, or behind the last one.

    Returns:
        What is noteworthy: steps that draw random numbers in test mode.
    """
    for place, step in enumerate(steps):
        if any(kind.__module__.startswith('mmcv.') for kind in type(step).__mro__):
            raise ConfigError(
                f'pipeline.{place}: {type(step).__name__} is a transform of mmcv, which labels do not follow: take the one of '
                f"this package, or for colours alone dict(type='ColourStep', transform=dict(type=...))"
            )
        if isinstance(step, PackMTLInputs) and place < len(steps) - 1:
            raise ConfigError(
                f'pipeline.{place}: PackMTLInputs is the last step, found {type(steps[place + 1]).__name__} after it'
            )
    drawing = [type(step).__name__ for step in steps if getattr(step, 'draws_random', False)] if test_mode else []
    if not drawing:
        return []
    return [
        f'test_mode=True, but {", ".join(drawing)} change the images at random: metrics and written predictions are those of '
        'changed images; leave them out of this pipeline'
    ]


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


def check_indices(dataset: MTLDataset, chosen: int | Sequence[int] | None, samples: int) -> None:
    """Refuse places of samples that there are not, or none."""
    if chosen is None:
        return
    places = np.ravel(chosen)
    nothing = not places.size or (isinstance(chosen, int) and chosen == 0) or places.dtype.kind == 'b'
    wrong = (
        [chosen] if nothing else [] if isinstance(chosen, int) else places[(places < -samples) | (places >= samples)]
    )
    if len(wrong):
        raise ConfigError(
            f'{type(dataset).__name__}.indices: expected places of the {samples} samples, or how many, found {wrong[0]}'
        )


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


def check_order(dataset: MTLDataset, what: str, classes: Sequence[str], count: int | None = None) -> None:
    """Refuse a segmentation whose classes are those of the labels in another order, or more than they have.

    Args:
        dataset: The data set.
        what: Whose classes they are, for the message.
        classes: Names in the order of the labels' numbers.
        count: How many there are, where only that is known.
    """
    count = len(classes) or count
    for name, task in dataset.tasks.items():
        named = list(getattr(task, 'classes', ()))
        if task.source == 'semseg' and count and len(named) > count:
            raise ConfigError(
                f"tasks['{name}'].classes: expected those of the labels of {what}, which are {count}, found {len(named)}"
            )
        if task.source == 'semseg' and named != list(classes) and sorted(map(str, named)) == sorted(map(str, classes)):
            raise ConfigError(
                f"tasks['{name}'].classes: the same classes as those of {what}, in another order than its labels have: "
                f'{list(classes)}'
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
    about = dataset._metainfo
    check_order(dataset, type(dataset).__name__, about.get('classes') or (), about.get('class_count'))
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
