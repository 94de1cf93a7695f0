"""The published maps of partial labels (MTPSL, DiffusionMTL), read without running what is in their pickles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mmmtl.datasets.label_samplers import Assignment, save_label_map
from mmmtl.errors import FileError
from mmmtl.utils.tensor_files import read_arrays

COLUMNS = dict(
    pascal=('semseg', 'human_parts', 'saliency', 'normals', 'boundary'),
    nyud=('semseg', 'depth', 'normals'),
    cityscapes=('semseg', 'depth'),
)
"""Order of the tasks in the published tables."""
SETTINGS = ('onelabel', 'random')
SPELLINGS = dict(sal='saliency', edge='boundary')

COUNTS: dict[tuple[str, str], tuple[dict[str, int], dict[int, int]]] = {
    ('pascal', 'onelabel'): (dict(semseg=1000, human_parts=999, saliency=1000, normals=1000, boundary=999), {1: 4998}),
    ('pascal', 'random'): (
        dict(semseg=2450, human_parts=847, saliency=2445, normals=2480, boundary=2557),
        {1: 1538, 2: 1529, 3: 1541, 4: 390},
    ),
    ('nyud', 'onelabel'): (dict(semseg=265, depth=265, normals=265), {1: 795}),
    ('nyud', 'random'): (dict(semseg=392, depth=408, normals=385), {1: 405, 2: 390}),
    ('cityscapes', 'onelabel'): (dict(semseg=1487, depth=1488), {1: 2975}),
}
"""Per data set and setting: labels per task, images by their number of labels, counted in the published files."""


def read_published_map(path: str | Path, dataset: str) -> Assignment:
    """Read a published map.

    Forms: a ``.npy`` dict ``{task: [ids]}`` (PASCAL); a ``.pth`` dict ``{id: [0 or 1 per task]}`` (PASCAL) or
    ``{'labels_weights': table (images, tasks)}`` (NYUD, Cityscapes; the row is the number of the file).

    Args:
        path: The file.
        dataset: ``'pascal'``, ``'nyud'`` or ``'cityscapes'``: the order of the tasks.

    Returns:
        ``{sample id: labelled tasks}``, in this package's names.

    Raises:
        FileError: A file of another form, or one whose pickle names anything but numbers, strings and arrays.
    """
    path = Path(path)
    tasks = COLUMNS[dataset]
    expected = f'a published map of partial labels for {dataset}'
    try:
        content = read_arrays(path)
    except FileNotFoundError as error:
        raise FileError(f'{path}: expected {expected}, found no such file') from error
    except (ValueError, OSError) as error:
        raise FileError(f'{path}: expected {expected}, found something that is not loaded: {error}') from error
    if not isinstance(content, dict) or not content:
        raise FileError(f'{path}: expected {expected}, found {type(content).__name__}')
    if 'labels_weights' in content:
        rows = {str(i): row for i, row in enumerate(np.asarray(content['labels_weights']).tolist())}
    elif all(isinstance(v, list) and set(v) <= {0, 1} for v in content.values()):
        rows = {str(i): row for i, row in content.items()}
    else:
        return _by_task(path, content, tasks)
    for i, row in rows.items():
        if len(row) != len(tasks) or not set(row) <= {0, 1}:
            raise FileError(
                f"{path}: expected {len(tasks)} marks of 0 or 1 ({', '.join(tasks)}) per image, found {row} at '{i}'"
            )
    return {i: tuple(t for t, mark in zip(tasks, row) if mark) for i, row in rows.items()}


def _by_task(path: Path, content: Mapping, tasks: Sequence[str]) -> Assignment:
    """``{task: [ids]}`` → ``{id: tasks}``."""
    named = {SPELLINGS.get(str(name), str(name)): {str(i) for i in ids} for name, ids in content.items()}
    if set(named) != set(tasks):
        raise FileError(f'{path}: expected the tasks {sorted(tasks)}, found {sorted(map(str, content))}')
    everybody = sorted(set().union(*named.values()))
    return {i: tuple(t for t in tasks if i in named[t]) for i in everybody}


def check_counts(
    labels: Assignment, dataset: str, place: str = '', remedy: str = '--any-counts takes it as it is.'
) -> str:
    """The setting whose published counts the map has.

    Args:
        labels: The map.
        dataset: ``'pascal'``, ``'nyud'`` or ``'cityscapes'``.
        place: How an error begins.
        remedy: How it ends.

    Returns:
        ``'onelabel'`` or ``'random'``.

    Raises:
        FileError: Counts of neither; says what was expected and found.
    """
    per_task = Counter(t for kept in labels.values() for t in kept)
    per_image = Counter(len(kept) for kept in labels.values())
    for (name, setting), (tasks, images) in COUNTS.items():
        if name == dataset and dict(per_task) == tasks and dict(per_image) == images:
            return setting
    published = '; '.join(
        f'{setting}: {tasks}, images by number of labels {images}'
        for (name, setting), (tasks, images) in COUNTS.items()
        if name == dataset
    )
    raise FileError(
        f'{place}the counts of this map are not those of a published one for {dataset}: expected {published}; found '
        f'{dict(per_task)}, images by number of labels {dict(sorted(per_image.items()))}. {remedy}'
    )


def convert_label_map(source: str, target: str, dataset: str, any_counts: bool = False) -> str:
    """Convert a published map to JSON or CSV for the ``LabelMap`` sampler.

    Args:
        source: ``.npy`` or ``.pth``.
        target: ``.json`` or ``.csv``.
        dataset: ``'pascal'``, ``'nyud'`` or ``'cityscapes'``.
        any_counts: Accept a map with other counts than the published ones.

    Returns:
        A line that says what was written.
    """
    labels = read_published_map(source, dataset)
    setting = 'unchecked' if any_counts else check_counts(labels, dataset)
    tasks = COLUMNS[dataset]
    save_label_map(labels, target, tasks, dict(dataset=dataset, setting=setting, source=Path(source).name))
    counts = ', '.join(f'{t} {sum(t in kept for kept in labels.values())}' for t in tasks)
    return f'{target}: {len(labels)} images, setting {setting}; {counts}'
