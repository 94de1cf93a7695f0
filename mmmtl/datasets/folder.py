"""Your own images and label maps: one folder per task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.addresses import address
from mmmtl.datasets.io.folders import (
    IMAGE_SUFFIXES,
    OTHER_PICTURES,
    index_files,
    index_paths,
    read_id_list,
    sub_folders,
    walk,
)
from mmmtl.datasets.io.pictures import exif_orientation, image_size, read_image
from mmmtl.datasets.io.storage import is_dir
from mmmtl.datasets.io.stored_labels import LABEL_SUFFIXES, StoredLabels, label_examples, mask_numbers
from mmmtl.datasets.io.values import spread
from mmmtl.errors import ConfigError, NotFoundError, suggest
from mmmtl.registry import DATASETS
from mmmtl.tasks import Task

from .base import MTLDataset


@DATASETS.register_module()
class FolderDataset(MTLDataset):
    """``data_root/images/ID.jpg`` and ``data_root/TASK/ID.png`` (or ``.npy``, ``.flo``, ...), all or some labels.

    A sample has the labels whose files exist. Ids are paths below ``images`` without the suffix, so
    sub-folders work.

    Reading, by kind of task; pictures are read at the depth they are stored with:

    * categorical: a grey or palette picture, or an integer array (H, W). ``unknown`` values become 255, as does a
      stored 255; ``offset`` is added to the others first. ``values`` maps stored numbers or colours to classes instead,
      ``threshold`` cuts grey levels in two. Masks of 0 and 255 alone, for a task of two classes, are 0 and 1; the log
      says so. Sixteen are looked at; where these hold one number alone, a 255 without a 1 is an error.
    * continuous with one channel: a picture or an array (H, W), (H, W, 1) or (1, H, W); value =
      ``scale * stored + offset``. ``unknown`` values (of the file, 0 by default in pictures) and NaN become
      NaN.
    * continuous with more channels: a picture, an array (H, W, C) or (C, H, W), or ``.flo``; likewise, a pixel being
      unknown when all its channels hold an ``unknown`` value. A picture of normals is ``scale=2 / 255, offset=-1``. A
      flow picture of three 16-bit channels is KITTI's.

    Args:
        tasks: ``{task name: config or Task}``; the folder of a task is its ``source``, by default its name.
        images: Folder of the photographs.
        next_images: Folder of the second frames, for tasks that need a pair.
        split_file: File with one id a line, or a ``.csv`` with ids in its first column; default: every image.
            (``split`` only names the split.)
        formats: ``{task name: dict(scale=..., offset=..., unknown=[...], values={...}, ...)}``, the fields of
            :class:`~mmmtl.datasets.io.label_format.LabelFormat`.
        white_point: The number that is white in photographs of more than 8 bits; default: the largest of their type.
        upright: Turn photographs as their EXIF orientation says; False where labels are drawn on the stored pixels.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str,
        images: str = 'images',
        next_images: str | None = None,
        split_file: str | None = None,
        formats: Mapping[str, Mapping] | None = None,
        white_point: float | None = None,
        upright: bool = True,
        **kwargs: Any,
    ) -> None:
        self.images, self.next_images, self.split_file = images, next_images, split_file
        self.white_point, self.upright = white_point, bool(upright)
        if white_point is not None and not white_point > 0:
            raise ConfigError(f'FolderDataset.white_point: expected a number above 0, got {white_point}')
        if not isinstance(formats or {}, Mapping) or not all(isinstance(v, Mapping) for v in (formats or {}).values()):
            raise ConfigError(f'FolderDataset.formats: expected {{task name: dict(...)}}, found {formats!r:.80}')
        self.formats = {k: dict(v) for k, v in (formats or {}).items()}
        for name in self.formats:
            if name not in tasks:
                raise ConfigError(
                    f"FolderDataset.formats: '{name}' is not a task of this dataset.{suggest(name, tasks)}"
                )
        self.stored: dict[str, StoredLabels] = {}
        self._label_files: dict[str, list[Path]] = {}
        super().__init__(tasks, data_root, **kwargs)

    def _prepare_formats(self) -> None:
        for name, task in self.tasks.items():
            self.stored[name] = StoredLabels(
                f"FolderDataset.formats['{name}']",
                task,
                self.formats.get(name, {}),
                self.path(task.source),
                self.upright,
            )

    def list_samples(self) -> list[dict]:
        self._prepare_formats()
        root = Path(self.path(self.images))
        if not is_dir(root):
            raise NotFoundError(
                f'FolderDataset: no folder of images at {address(root)}: say images=NAME where it is called otherwise (folders '
                f'there: {sub_folders(self.data_root or ".")})'
            )
        folders = [Path(self.path(name)) for name in (*self.sources(), *filter(None, [self.next_images]))]
        inner = [folder for folder in folders if folder != root and folder.is_relative_to(root)]
        pictures = walk(root, (*IMAGE_SUFFIXES, *OTHER_PICTURES))
        found = index_paths(root, (path for path in pictures if path.suffix.lower() in IMAGE_SUFFIXES))
        found = {i: path for i, path in found.items() if not any(path.is_relative_to(folder) for folder in inner)}
        if not found:
            raise NotFoundError(f'FolderDataset: no images in {root}; an image ends in {", ".join(IMAGE_SUFFIXES)}')
        self._look_at_orientation([found[i] for i in found])
        others = [path for path in pictures if path.suffix.lower() in OTHER_PICTURES]
        if others:
            self.remarks.append(
                f'{len(others)} pictures in {root} are not read, for example {others[0].name}: images are '
                f'{", ".join(IMAGE_SUFFIXES)}'
            )
        ids = self._chosen(root, found) if self.split_file else list(found)
        labels: dict[str, dict[str, Path]] = {}
        for name, task in self.tasks.items():
            folder = self.path(task.source)
            there = walk(folder)
            files = index_paths(folder, (path for path in there if path.suffix.lower() in LABEL_SUFFIXES))
            labels[name] = files
            self._look_at_folder(name, files, there, found)
            some = label_examples([files[i] for i in files if i in found])  # alike for every split
            self._label_files[self.tasks[name].source] = some
            self.stored[name].infer(some)
        seconds = index_files(self.path(self.next_images), IMAGE_SUFFIXES) if self.next_images else {}
        samples = []
        for i in ids:
            paths = {self.tasks[name].source: address(files[i]) for name, files in labels.items() if i in files}
            info = dict(sample_id=i, img_path=address(found[i]), paths=paths, available=tuple(paths))
            if i in seconds:
                info['next_path'] = address(seconds[i])
            samples.append(info)
        return samples

    def reader_state(self) -> dict[str, Any]:
        return dict(numbers={source: mask_numbers(files) for source, files in self._label_files.items()})

    def restore_reader(self, state: Mapping[str, Any]) -> None:
        self._prepare_formats()
        for name, task in self.tasks.items():
            self.stored[name].set_numbers(state['numbers'].get(task.source, ()))

    @classmethod
    def reader_arguments(cls, arguments: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
        given = arguments.get('formats') or {}
        return dict(arguments, formats={name: given[earlier] for name, earlier in names.items() if earlier in given})

    def _chosen(self, root: Path, found: Mapping[str, Path]) -> list[str]:
        """Ids of the split file; a line may also be the path of the image, or be written with backslashes."""
        where, ids, lost = self.path(str(self.split_file)), [], []
        for line in read_id_list(where):
            plain = line.replace('\\', '/').removeprefix(f'{self.images}/')
            stem = plain[: plain.rfind('.')] if plain.lower().endswith(IMAGE_SUFFIXES) else plain
            near = next((i for i in (line, plain, stem) if i in found), None)
            lost += [line] if near is None else []
            ids.append(near)
        if lost:
            raise NotFoundError(
                f"{where}: {len(lost)} ids have no image in {root}, for example '{lost[0]}'.{suggest(lost[0], found)}"
            )
        return ids  # type: ignore[return-value]

    def _look_at_orientation(self, images: Sequence[Path]) -> None:
        """Note photographs that are turned where the size of a label could not show that it is not."""
        turned = []
        for path in spread(images, 16) if self.upright else ():
            turn = exif_orientation(path)
            if turn in (2, 3, 4) or (turn > 4 and len(set(image_size(path))) == 1):
                turned.append((path.name, turn))
        if turned:
            self.remarks.append(
                f'photographs are turned by their EXIF orientation ({turned[0][0]}: {turned[0][1]}), which keeps their '
                'size: labels must be drawn upright too; where they lie on the stored pixels, say upright=False'
            )

    def _look_at_folder(
        self, name: str, files: Mapping[str, Path], there: Sequence[Path], images: Mapping[str, Path]
    ) -> None:
        """Note label files that nobody reads: without an image, or of a wrong kind."""
        folder = self.path(self.tasks[name].source)
        lost = [path for i, path in files.items() if i not in images]
        if lost:
            near = suggest(lost[0].stem, [Path(i).stem for i in list(images)[:2000]])
            self.remarks.append(
                f"task '{name}': {len(lost)} of {len(files)} files in {folder} belong to no image, for example "
                f'{lost[0].name}: a label is called as its image.{near}'
            )
        if Path(folder).resolve() in (Path(self.path(self.images)).resolve(), Path(self.data_root).resolve()):
            return
        others = [p for p in there if p.suffix.lower() not in LABEL_SUFFIXES]
        if others:
            kinds = ', '.join(f'{n} {kind or "no suffix"}' for kind, n in Counter(p.suffix for p in others).items())
            self.remarks.append(
                f"task '{name}': {len(others)} files in {folder} are not read ({kinds}), for example {others[0].name}: "
                f'labels are {", ".join(LABEL_SUFFIXES)}'
            )

    def load_image(self, info: dict) -> np.ndarray:
        info['photograph'] = dict(upright=self.upright, white=self.white_point)  # so that a panel shows the same
        return read_image(info['img_path'], **info['photograph'])

    def load_next_image(self, info: dict) -> np.ndarray:
        return read_image(info['next_path'], self.upright, self.white_point)

    def sources(self) -> list[str]:
        return sorted({t.source for t in self.tasks.values()})

    def read_label(self, info: dict, task: Task) -> np.ndarray | None:
        path = info['paths'].get(task.source)
        return None if path is None else self.stored[task.name].read(Path(path))
