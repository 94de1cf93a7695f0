"""Your own images and label maps: one folder per task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.derived import mask_invalid
from mmmtl.datasets.io.files import read_id_list
from mmmtl.datasets.io.label_files import read_flo, read_map, read_npy, read_picture
from mmmtl.errors import ConfigError, FileError, suggest
from mmmtl.registry import DATASETS
from mmmtl.tasks import IGNORE, Task

from .base import MTLDataset

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')
LABEL_SUFFIXES = ('.png', '.npy', '.flo', '.tif', '.tiff', '.bmp')


@DATASETS.register_module()
class FolderDataset(MTLDataset):
    """``data_root/images/ID.jpg`` and ``data_root/TASK/ID.png`` (or ``.npy``, ``.flo``), any tasks, all or some labels.

    A sample has the labels whose files exist. Ids are paths below ``images`` without the suffix, so
    sub-folders work.

    Reading, by kind of task:

    * categorical: a grey or palette picture, or an integer ``.npy`` (H, W). ``unknown`` values become 255;
      ``offset`` is added to the others first.
    * continuous with one channel: an 8- or 16-bit picture or ``.npy`` (H, W), (H, W, 1) or (1, H, W); value =
      ``scale * stored + offset``. ``unknown`` values (of the file, 0 by default in pictures) and NaN become
      NaN.
    * continuous with more channels: an 8-bit RGB picture, ``.npy`` (H, W, C) or (C, H, W), or ``.flo``;
      likewise, a pixel being unknown when all its channels hold an ``unknown`` value. A picture of normals is
      ``scale=2 / 255, offset=-1``.

    Args:
        tasks: ``{task name: config or Task}``; the folder of a task is its ``source``, by default its name.
        images: Folder of the photographs.
        next_images: Folder of the second frames, for tasks that need a pair.
        split_file: File with one id a line; default: every image. (``split`` only names the split.)
        formats: ``{task name: dict(scale=..., offset=..., unknown=[...])}``.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str,
        images: str = 'images',
        next_images: str | None = None,
        split_file: str | None = None,
        formats: Mapping[str, Mapping] | None = None,
        **kwargs: Any,
    ) -> None:
        self.images, self.next_images, self.split_file = images, next_images, split_file
        self.formats = {k: dict(v) for k, v in (formats or {}).items()}
        for name, form in self.formats.items():
            if name not in tasks:
                raise ConfigError(
                    f"FolderDataset.formats: '{name}' is not a task of this dataset.{suggest(name, tasks)}"
                )
            for key in form:
                if key not in ('scale', 'offset', 'unknown'):
                    near = suggest(key, ('scale', 'offset', 'unknown'))
                    raise ConfigError(
                        f"FolderDataset.formats['{name}']: unknown entry '{key}' (scale, offset, unknown).{near}"
                    )
        super().__init__(tasks, data_root, **kwargs)
        for name, form in self.formats.items():
            if 'scale' in form and self.tasks[name].categorical:
                raise ConfigError(
                    f"FolderDataset.formats['{name}']: scale is for continuous tasks; class ids take offset and unknown"
                )

    def list_samples(self) -> list[dict]:
        root = Path(self.path(self.images))
        if not root.is_dir():
            raise FileNotFoundError(f'FolderDataset: no folder of images at {root}')
        found: dict[str, Path] = {}
        for path in sorted(root.rglob('*')):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                sample_id = path.relative_to(root).with_suffix('').as_posix()
                if sample_id in found:
                    raise ValueError(f"FolderDataset: two images for '{sample_id}': {found[sample_id]} and {path}")
                found[sample_id] = path
        ids = list(found)
        if self.split_file:
            ids = read_id_list(self.path(self.split_file))
            lost = [i for i in ids if i not in found]
            if lost:
                raise FileNotFoundError(
                    f'{self.path(self.split_file)}: {len(lost)} ids have no image in {root}, for example '
                    f"'{lost[0]}'.{suggest(lost[0], found)}"
                )
        labels = {t.source: _index(Path(self.path(t.source))) for t in self.tasks.values()}
        seconds = _index(Path(self.path(self.next_images)), IMAGE_SUFFIXES) if self.next_images else {}
        samples = []
        for i in ids:
            paths = {source: files[i] for source, files in labels.items() if i in files}
            info = dict(sample_id=i, img_path=str(found[i]), label_paths=paths, available=tuple(paths))
            if i in seconds:
                info['next_path'] = seconds[i]
            samples.append(info)
        return samples

    def sources(self) -> list[str]:
        return sorted({t.source for t in self.tasks.values()})

    def label_file(self, info: dict, source: str) -> str:
        return info['label_paths'].get(source, super().label_file(info, source))

    def read_label(self, info: dict, task: Task) -> np.ndarray | None:
        if task.source not in info['label_paths']:
            return None
        path = Path(info['label_paths'][task.source])
        stored = _read(path, task)
        form = self.formats.get(task.name, {})
        return _categorical(path, stored, **form) if task.categorical else _continuous(path, stored, task, **form)


def _index(folder: Path, suffixes: tuple[str, ...] = LABEL_SUFFIXES) -> dict[str, str]:
    """``{id: file}`` of a folder; an id with two files is an error."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob('*')) if folder.is_dir() else ():
        if path.suffix.lower() in suffixes:
            sample_id = path.relative_to(folder).with_suffix('').as_posix()
            if sample_id in found:
                raise ValueError(f"FolderDataset: two files for '{sample_id}': {found[sample_id]} and {path}")
            found[sample_id] = str(path)
    return found


def _read(path: Path, task: Task) -> np.ndarray:
    """The stored numbers: (H, W), or (H, W, C) for several channels."""
    if path.suffix.lower() == '.npy':
        array = read_npy(path)
        if array.ndim == 3 and array.shape[0] == task.label_channels and array.shape[-1] != task.label_channels:
            array = array.transpose(1, 2, 0)
        return array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array
    if path.suffix.lower() == '.flo':
        return read_flo(path)
    return read_map(path) if task.label_channels == 1 else read_picture(path)


def _categorical(path: Path, stored: np.ndarray, offset: int = 0, unknown: Any = (IGNORE,)) -> np.ndarray:
    if stored.dtype.kind not in 'biu':
        raise FileError(f'{path}: expected integer class ids, found {stored.dtype}')
    hidden = np.isin(stored, np.atleast_1d(unknown))
    label = stored.astype(np.int64) + int(offset)
    label[hidden] = IGNORE
    return label


def _continuous(
    path: Path, stored: np.ndarray, task: Task, scale: float = 1.0, offset: float = 0.0, unknown: Any = None
) -> np.ndarray:
    if unknown is None:
        unknown = (0,) if path.suffix.lower() not in ('.npy', '.flo') and task.label_channels == 1 else ()
    planes = stored[None] if stored.ndim == 2 else stored.transpose(2, 0, 1)
    if planes.shape[0] != task.label_channels:
        raise FileError(f'{path}: expected {task.label_channels} channels, found shape {stored.shape}')
    values = planes.astype(np.float32)
    hidden = np.isnan(values).any(0)
    if np.size(unknown):
        hidden = hidden | np.isin(planes, np.atleast_1d(unknown)).all(0)
    return mask_invalid(values * np.float32(scale) + np.float32(offset), np.asarray(hidden))
