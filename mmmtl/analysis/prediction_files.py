"""Predictions in files, of this toolbox or of other code, as the maps that metrics compare."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log

from mmmtl.datasets.io.arrays import read_flo, read_npy
from mmmtl.datasets.io.label_format import check_entry
from mmmtl.datasets.io.palettes import two_levels
from mmmtl.datasets.io.pictures import decode
from mmmtl.datasets.io.values import full_scale_mask, spread
from mmmtl.errors import ConfigError, FileError, suggest
from mmmtl.tasks import CategoricalTask, Task
from mmmtl.utils.files import safe_name

SUFFIXES = ('.npy', '.png', '.flo', '.tif', '.tiff')


def is_probability(task: Task) -> bool:
    """Does the task predict a probability (rather than a class or a value)?"""
    return task.categorical and task.predict(torch.zeros(1, task.out_channels, 1, 1)).is_floating_point()


def read_prediction(path: str, task: Task, scale: float | None = None, offset: float = 0.0) -> np.ndarray:
    """A prediction in the form that the task's metrics take.

    * classes: a grey picture or an integer ``.npy``;
    * probabilities: a picture of 8 bits (divided by 255) or 16 (by 65535), or ``.npy`` in [0, 1];
    * values: ``.npy`` (C, H, W), (H, W, C) or (H, W), ``.flo``, or a picture whose numbers mean ``scale * stored +
      offset``. A task with a bounded range needs neither: black is its lowest value, white its highest.

    Args:
        path: The file.
        task: Whose prediction it is.
        scale, offset: See above; for classes ``offset`` is added to the ids.

    Returns:
        int64 (H, W), or floats (C, H, W) with the precision of the file.

    Raises:
        FileError: When the file holds something else; names it, what was expected and found.
    """
    classes = task.categorical and not is_probability(task)
    stored, white = stored_numbers(path, classes, classes and task.out_channels == 2)
    if classes:
        if stored.ndim != 2 or stored.dtype.kind not in 'iub':
            raise FileError(f"{path}: task '{task.name}' expects class ids (H, W), found {stored.dtype} {stored.shape}")
        return stored.astype(np.int64) + int(offset)
    channels = 1 if task.categorical else task.label_channels
    planes = _planes(path, stored, channels, task.name)
    if planes.dtype.kind not in 'iu' or osp.splitext(path)[1] == '.npy':
        values = planes if planes.dtype.kind == 'f' else planes.astype(np.float64)
        return values if scale is None and not offset else values * (1.0 if scale is None else scale) + offset
    if scale is None:
        low, high = (0.0, 1.0) if task.categorical else getattr(task, 'value_range', (-np.inf, np.inf))
        if not np.isfinite((low, high)).all():
            raise FileError(
                f"{path}: what the numbers of a picture mean must be said for task '{task.name}': "
                f'formats.{task.name}.scale (and .offset), for example 0.001 for millimetres'
            )
        return planes / np.float64(white) * (high - low) + low
    return planes.astype(np.float64) * scale + offset


def stored_numbers(path: str, classes: bool, two: bool = False) -> tuple[np.ndarray, float]:
    """The numbers of a file, and which is white: (H, W) or (H, W, C), of an array also (C, H, W).

    Of a palette they are its colours; of ``classes`` the ids, but of ``two`` classes 0 and 1 where it is black and white.
    """
    suffix = osp.splitext(path)[1].lower()
    if suffix == '.npy':
        array = read_npy(path)
        return array[0] if array.ndim == 3 and len(array) == 1 else array, 1.0
    if suffix == '.flo':
        return read_flo(path), 1.0
    picture = decode(path)
    if picture.frames > 1 or (picture.alpha is not None and (picture.alpha != picture.alpha.max()).any()):
        what = f'{picture.frames} pages' if picture.frames > 1 else 'pixels of different transparency'
        raise FileError(f'{path}: expected one map, found {what}: save that map alone')
    if picture.palette is None or classes:
        shown = two_levels(picture) if two else None
        return picture.pixels if shown is None else shown, picture.white
    return picture.colours(), 255.0


def _planes(path: str, stored: np.ndarray, channels: int, name: str) -> np.ndarray:
    """(C, H, W) of what was stored; a picture may have a channel more than the task, as KITTI's flow has."""
    is_array = osp.splitext(path)[1].lower() == '.npy'
    if stored.ndim == 2 and channels == 1:
        return stored[None]
    if stored.ndim == 3 and is_array and stored.shape[0] == channels:
        return stored
    if stored.ndim == 3 and (stored.shape[-1] == channels or not is_array and stored.shape[-1] > channels > 1):
        return np.ascontiguousarray(stored[..., :channels].transpose(2, 0, 1))
    if stored.ndim == 3 and channels == 1 and not is_array and (stored == stored[..., :1]).all():
        return np.ascontiguousarray(stored[None, ..., 0])  # grey stored as colour
    raise FileError(f"{path}: task '{name}' expects {channels} channel(s), found shape {stored.shape}")


class PredictionFolder:
    """``DIR/TASK/SAMPLE_ID.npy`` (or ``.png``, ``.flo``, ``.tif``): what ``tools/test.py --out`` writes.

    Args:
        folder: The folder. A task's own folder is called as the task, or as one of its aliases.
        tasks: ``{name: Task}``.
        formats: ``{task: dict(scale=..., offset=...)}``, see :func:`read_prediction`.

    Raises:
        ConfigError: When a task has no folder, or ``formats`` names what there is not.
    """

    def __init__(
        self, folder: str, tasks: Mapping[str, Task], formats: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self.folder, self.tasks = folder, dict(tasks)
        self.formats = {name: dict(form) for name, form in (formats or {}).items()}
        for name, form in self.formats.items():
            if name not in self.tasks:
                raise ConfigError(f"formats: '{name}' is not a task of this data.{suggest(name, self.tasks)}")
            for key in form:
                if key not in ('scale', 'offset'):
                    raise ConfigError(f"formats.{name}: unknown entry '{key}'.{suggest(key, ('scale', 'offset'))}")
                check_entry(f'formats.{name}.{key}', key, form[key])
            task = self.tasks[name]
            if task.categorical and not is_probability(task) and ('scale' in form or form.get('offset', 0) % 1):
                raise ConfigError(f'formats.{name}: class ids take a whole offset alone, found {form}')
        self.places = {name: self._place(task) for name, task in self.tasks.items()}
        self.white = {name: self._white(name) for name in self.tasks}
        self._read: dict[str, str] = {}

    def _place(self, task: Task) -> str:
        names = (task.name, *task.aliases)
        for name in names:
            if osp.isdir(osp.join(self.folder, name)):
                return osp.join(self.folder, name)
        raise ConfigError(
            f"{self.folder} has no folder {' or '.join(names)} with predictions of task '{task.name}'; evaluate the "
            'tasks that are there with --tasks'
        )

    def _white(self, name: str) -> int | None:
        """The number of the second of two classes in pictures that hold 0 and 255 (65535) alone, as in labels."""
        task = self.tasks[name]
        if not isinstance(task, CategoricalTask) or task.num_classes != 2 or is_probability(task):
            return None
        pictures = spread(sorted(Path(self.places[name]).glob('*.png')), 16)
        white = full_scale_mask(stored_numbers(str(path), True, True)[0] for path in pictures)
        if white is not None:
            print_log(
                f'{self.places[name]}: the pictures hold 0 and {white} alone: {white} is read as class 1', 'current'
            )
        return white

    def read(self, sample_id: str, name: str) -> np.ndarray:
        """One sample's prediction of one task.

        Raises:
            FileError: When there is none, more than one, or one that is another sample's, or it is not what the task predicts.
        """
        inside = () if '..' in sample_id or osp.isabs(sample_id) else (sample_id,)
        for stem in dict.fromkeys((safe_name(sample_id), *inside, osp.basename(sample_id))):
            found = [path for end in SUFFIXES if osp.isfile(path := osp.join(self.places[name], stem + end))]
            if len(found) > 1:
                raise FileError(
                    f"{' and '.join(found)} are both predictions for sample '{sample_id}': keep one of them"
                )
            for path in found:
                other = self._read.setdefault(path, sample_id)
                if other != sample_id:
                    raise FileError(
                        f"{path} would be the prediction for two samples, '{other}' and '{sample_id}': name the files like "
                        f'the ids, {safe_name(sample_id)}'
                    )
                value = read_prediction(path, self.tasks[name], **self.formats.get(name, {}))
                return value if self.white[name] is None else np.where(value == self.white[name], 1, value)
        raise FileError(
            f"{osp.join(self.places[name], safe_name(sample_id))}: expected the prediction of task '{name}' for sample "
            f"'{sample_id}' ({', '.join(SUFFIXES)}), found no such file"
        )
