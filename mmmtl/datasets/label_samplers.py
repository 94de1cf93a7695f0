"""Who is labelled with what, decided from sample ids before any label file is opened.

Every sampler is a pure function of its seed and the *set* of sample ids: independent of their order, of
workers, ranks and of the number of epochs. Splits of the kinds used for partially annotated training (MTPSL,
DiffusionMTL): one label per image (a balanced random partition) and random labels (k ~ U{1..T-1} tasks per
image).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.logging import print_log

from mmmtl.datasets.io.folders import plain_name
from mmmtl.errors import ConfigError, FileError, NotFoundError, suggest
from mmmtl.registry import LABEL_SAMPLERS
from mmmtl.utils.files import read_json, read_text, write_atomically

from .label_columns import IdColumn, one_label, random_labels, set_type, through_names

Assignment = dict[str, tuple[str, ...]]


class LabelSampler(ABC):
    """Base: which tasks of which sample are labelled.

    Args:
        seed: Seed of the draw; samplers without randomness ignore it.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = int(seed)

    def assign(self, available: Mapping[str, Sequence[str]], tasks: Sequence[str]) -> Assignment:
        """Choose the labelled tasks of every sample.

        Args:
            available: ``{sample id: tasks whose label exists for this sample}``.
            tasks: All tasks, in the dataset's order.

        Returns:
            ``{sample id: labelled tasks}``, tasks in the order of ``tasks``, always a subset of the available
            ones.
        """
        # sorting makes the answer independent of the order in which a dataset lists its samples
        ordered = {str(i): [t for t in tasks if t in available[i]] for i in sorted(available)}
        chosen = self._choose(ordered, list(tasks))
        return {i: tuple(t for t in there if t in chosen[i]) for i, there in ordered.items()}

    def assign_columns(self, ids: IdColumn, available: np.ndarray, tasks: Sequence[str]) -> np.ndarray:
        """:meth:`assign` on columns, for collections of which no dictionary is made.

        Args:
            ids: The sample ids.
            available: (n,) sets of the tasks whose label exists, a bit per task.
            tasks: All tasks, in the dataset's order.

        Returns:
            (n,) sets of the labelled tasks.
        """
        return through_names(self.assign, ids, available, tasks)

    def key(self) -> dict[str, Any] | None:
        """What an assignment depends on besides ids and labels, as JSON; None where that cannot be said."""
        return None

    @abstractmethod
    def _choose(self, available: dict[str, list[str]], tasks: list[str]) -> Mapping[str, Sequence[str]]:
        """Labelled tasks of every sample; both levels of ``available`` are sorted already."""


@LABEL_SAMPLERS.register_module()
class FullLabels(LabelSampler):
    """Every label that exists is used."""

    def assign_columns(self, ids: IdColumn, available: np.ndarray, tasks: Sequence[str]) -> np.ndarray:
        return available

    def key(self) -> dict[str, Any] | None:
        return {}

    def _choose(self, available: dict[str, list[str]], tasks: list[str]) -> dict[str, list[str]]:
        return available


class _OfColumns(LabelSampler):
    """A sampler that decides on columns alone; ``among`` as of :class:`RandomLabels`."""

    def __init__(self, seed: int = 0, among: Sequence[str] = ()) -> None:
        super().__init__(seed)
        self.among = tuple(among)

    @abstractmethod
    def _deal(self, ids: IdColumn, available: np.ndarray, tasks: Sequence[str]) -> np.ndarray:
        """:meth:`assign_columns` among all tasks."""

    def assign_columns(self, ids: IdColumn, available: np.ndarray, tasks: Sequence[str]) -> np.ndarray:
        others = [task for task in self.among if task not in tasks]
        wide = available.astype(set_type(len(tasks) + len(others))) | (((1 << len(others)) - 1) << len(tasks))
        return (self._deal(ids, wide, [*tasks, *others]) & ((1 << len(tasks)) - 1)).astype(available.dtype)

    def key(self) -> dict[str, Any] | None:
        return dict(seed=self.seed, among=self.among)

    def _choose(self, available: dict[str, list[str]], tasks: list[str]) -> dict[str, list[str]]:
        sets = [sum(1 << k for k, task in enumerate(tasks) if task in there) for there in available.values()]
        chosen = self.assign_columns(IdColumn.of(list(available)), np.array(sets, set_type(len(tasks))), tasks)
        return {i: [t for k, t in enumerate(tasks) if kinds >> k & 1] for i, kinds in zip(available, chosen.tolist())}


@LABEL_SAMPLERS.register_module()
class OneLabel(_OfColumns):
    """One label per image: a balanced random partition of the images over the tasks.

    Where every label exists, the tasks' counts differ by at most one (1000/1000/1000/999/999 for 4998 images
    and five tasks). An image that lacks some labels goes to the least filled task it has; images with few
    labels choose first.

    Args:
        seed, among: See :class:`RandomLabels`.
    """

    def _deal(self, ids: IdColumn, available: np.ndarray, tasks: Sequence[str]) -> np.ndarray:
        return one_label(ids, available, tasks, self.seed)


@LABEL_SAMPLERS.register_module()
class RandomLabels(_OfColumns):
    """Each image keeps k ~ U{``low``..``high``} random tasks, drawn from its id alone.

    A drawn task whose label does not exist for the image is dropped; if none is left, one of the existing
    ones is taken, so that no image with a label goes without.

    Args:
        low: Fewest tasks drawn.
        high: Most tasks drawn; default the number of tasks minus one (but at least ``low``).
        seed: Seed of the draw.
        among: Names of all tasks that labels are dealt to, those that the data set has not been given among them, whose
            labels are taken to exist: a network of one task then sees the labels that it has among the others, not all.
            ``only_tasks`` says them by itself. Default: those of the data set.
    """

    def __init__(self, low: int = 1, high: int | None = None, seed: int = 0, among: Sequence[str] = ()) -> None:
        super().__init__(seed, among)
        whole = isinstance(low, int) and isinstance(high, int | None)
        if not whole or low < 1 or (high is not None and high < low):
            raise ConfigError(f'RandomLabels: 1 <= low <= high is needed, got low={low}, high={high}')
        self.low, self.high = low, high

    def _range(self, tasks: Sequence[str]) -> tuple[int, int]:
        high = min(len(tasks), self.high if self.high is not None else max(self.low, len(tasks) - 1))
        return min(self.low, high), high

    def _deal(self, ids: IdColumn, available: np.ndarray, tasks: Sequence[str]) -> np.ndarray:
        return random_labels(ids, available, tasks, self.seed, *self._range(tasks))

    def key(self) -> dict[str, Any] | None:
        return dict(super().key() or {}, low=self.low, high=self.high)


@LABEL_SAMPLERS.register_module()
class LabelMap(LabelSampler):
    """Labels as listed in a file: JSON ``{"labels": {sample id: [tasks]}}`` or CSV ``sample_id,task,...`` with 0 and 1.

    A label that the map grants but the dataset lacks is an error, so that a run never has fewer labels than
    it claims.

    Args:
        path: The file, as :func:`save_label_map` or ``tools/dataset_converters/mtpsl_label_maps.py`` writes
            it.
        missing: What happens to a sample of the dataset that the map does not name: ``'error'``, ``'none'``
            (no label) or ``'full'`` (all labels).
        absent: What happens to a label the map grants and the dataset lacks: ``'error'`` or ``'drop'``.
        rename: ``{task in the file: task of this run}``, for maps with other spellings.
    """

    def __init__(
        self, path: str, missing: str = 'error', absent: str = 'error', rename: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        for name, value, allowed in (
            ('missing', missing, ('error', 'none', 'full')),
            ('absent', absent, ('error', 'drop')),
        ):
            if value not in allowed:
                raise ConfigError(f'LabelMap: {name} must be one of {allowed}, got {value!r}.{suggest(value, allowed)}')
        self.path, self.missing, self.absent = str(path), missing, absent
        self.rename = dict(rename or {})

    def key(self) -> dict[str, Any] | None:
        if not Path(self.path).is_file():
            return None  # which reading it then says
        labels = hashlib.sha256(Path(self.path).read_bytes()).hexdigest()
        return dict(labels=labels, missing=self.missing, absent=self.absent, rename=self.rename)

    def _choose(self, available: dict[str, list[str]], tasks: list[str]) -> dict[str, list[str]]:
        labels = {i: [self.rename.get(t, t) for t in kept] for i, kept in read_label_map(self.path).items()}
        named = {t for kept in labels.values() for t in kept}
        if not named & set(tasks):
            near = ''.join(suggest(t, tasks) for t in sorted(named)[:1])
            raise FileError(
                f'label map {self.path}: names none of the tasks {tasks}, only {sorted(named)}.{near} '
                f'LabelMap(rename=dict(...)) translates spellings.'
            )
        others = sorted(named - set(tasks))
        if others:
            near = next((text for text in (suggest(t, tasks) for t in others) if text), '')
            print_log(
                f'label map {self.path}: grants labels of {others}, which this run does not ask for.{near}',
                logger='current',
                level=logging.WARNING if near else logging.INFO,
            )
        lost = [i for i in available if i not in labels]
        if lost and self.missing == 'error':
            raise FileError(
                f'label map {self.path}: {len(lost)} of {len(available)} samples of the dataset are not in it, '
                f'for example {lost[:3]}.{suggest(lost[0], list(labels)[:2000])} '
                f"LabelMap(missing='none' or 'full') says what they get."
            )
        chosen = {}
        for i, existing in available.items():
            granted = labels.get(i, existing if self.missing == 'full' else [])
            absent = [t for t in granted if t in tasks and t not in existing]
            if absent and self.absent == 'error':
                raise FileError(
                    f"label map {self.path}: grants sample '{i}' the labels {absent}, but the dataset has only "
                    f"{existing}. LabelMap(absent='drop') goes without them."
                )
            chosen[i] = [t for t in granted if t in existing]
        return chosen


def save_label_map(
    assignment: Mapping[str, Sequence[str]],
    path: str | Path,
    tasks: Sequence[str],
    about: Mapping[str, object] | None = None,
) -> None:
    """Write an assignment for :class:`LabelMap`, JSON or CSV by the suffix of ``path``, never half.

    Args:
        assignment: ``{sample id: labelled tasks}``.
        path: ``*.json`` or ``*.csv``.
        tasks: All tasks, in order (columns of the CSV).
        about: Anything worth keeping beside the map (sampler, seed, counts); JSON only.
    """
    ids = sorted(assignment)
    if Path(path).suffix.lower() == '.csv':
        rows = [','.join(['sample_id', *tasks])]
        for i in ids:
            if ',' in i or '"' in i or '\n' in i:
                raise ConfigError(f"sample id {i!r} can't be written as CSV: use a .json label map")
            rows.append(','.join([i, *('1' if t in assignment[i] else '0' for t in tasks)]))
        text = '\n'.join(rows) + '\n'
    else:
        counts = {t: sum(t in assignment[i] for i in ids) for t in tasks}
        head = dict(about or {}, tasks=list(tasks), counts=counts)
        lines = ',\n'.join(f'  {json.dumps(i)}: {json.dumps(list(assignment[i]))}' for i in ids)
        text = json.dumps(head)[:-1] + ', "labels": {\n' + lines + '\n}}\n'
    write_atomically(path, text)


def read_label_map(path: str | Path) -> Assignment:
    """Read a label map written as JSON or CSV; see :func:`save_label_map` for the forms.

    Raises:
        FileError: A file that is neither, naming the place.
        NotFoundError: No such file.
    """
    path = Path(path)
    if not path.is_file():
        raise NotFoundError(f'label map {path}: no such file')
    return _read_csv(path) if path.suffix.lower() == '.csv' else _read_json(path)


def _read_json(path: Path) -> Assignment:
    content = read_json(path, 'a label map as JSON')
    labels = content.get('labels', content) if isinstance(content, dict) else content
    if not isinstance(labels, dict):
        raise FileError(f'label map {path}: expected an object of sample ids, found {type(labels).__name__}')
    for i, kept in labels.items():
        if not isinstance(kept, list) or not all(isinstance(t, str) for t in kept):
            raise FileError(f"label map {path}: sample '{i}' should have a list of task names, found {kept!r:.60}")
    return {plain_name(i): tuple(kept) for i, kept in labels.items()}


def _read_csv(path: Path) -> Assignment:
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline='')))
    except csv.Error as error:
        raise FileError(f'label map {path}: not valid CSV: {error}') from error
    if not rows or not rows[0] or rows[0][0] != 'sample_id':
        raise FileError(f"label map {path}: the first line should be 'sample_id,TASK,...', found {rows[:1]}")
    tasks, labels = rows[0][1:], {}
    for line, row in enumerate(rows[1:], 2):
        if not row:
            continue
        if len(row) != len(tasks) + 1 or not set(row[1:]) <= {'0', '1'}:
            raise FileError(f'label map {path}, line {line}: expected an id and {len(tasks)} times 0 or 1, found {row}')
        if plain_name(row[0]) in labels:
            raise FileError(f"label map {path}, line {line}: sample '{row[0]}' is listed twice")
        labels[plain_name(row[0])] = tuple(t for t, mark in zip(tasks, row[1:]) if mark == '1')
    return labels
