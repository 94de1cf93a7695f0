"""Diorama: made-up rooms with exact labels for all ten tasks, rendered when asked for. No download."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.base import MTLDataset
from mmmtl.datasets.label_samplers import LabelSampler
from mmmtl.errors import ConfigError, FileError
from mmmtl.registry import DATASETS
from mmmtl.tasks import Task, build_tasks
from mmmtl.utils.files import write_atomically

from .render import CLASSES, PARTS, RENDERER_VERSION, check_arguments, render

_CATEGORICAL = ('semseg', 'human_parts', 'saliency', 'boundary')
_CONTINUOUS = ('normals', 'depth', 'optical_flow', 'scene_flow', 'albedo', 'shading')


@DATASETS.register_module()
class Diorama(MTLDataset):
    """Miniature scenes: rooms with tables, boxes, balls and jointed figures, seen by a moving camera.

    A scene is a function of (``scene_seed``, its number) and nothing else; its id is ``diorama_SEED_NUMBER``. Worlds of
    different seeds have no scene in common: train on one and evaluate on another. Labels are exact and valid in
    every pixel (see :func:`mmmtl.datasets.diorama.render.render`): ``semseg`` (8 classes), ``human_parts`` (PASCAL's
    six parts), ``saliency`` (the one object the scene is about), ``normals``, ``boundary`` (of instances, one pixel),
    ``depth``, ``optical_flow``, ``scene_flow``, ``albedo``, ``shading``.

    Args:
        tasks: ``{task name: config or Task}``.
        length: Number of scenes, the first ``length`` of the world.
        size: (height, width) in pixels; the same scenes at any size.
        scene_seed: Which world.
        seed: Seed of the augmentation.
        frames: 1 or 2 frames a scene; default: what the tasks need.
        cache_dir: Keep rendered scenes in this folder, one file each, and read them from there. A scene of 128 x 128
            pixels renders in about 10 ms and takes 0.9 MB, so this pays for large pictures only.
        pipeline, label_sampler, test_mode, allow_unlabelled, leak_labels_to_crop, label_map_out, drop_unlabelled,
            indices, metainfo, lazy_init: See :class:`MTLDataset`.
    """

    METAINFO = dict(
        classes=CLASSES,
        palette=(
            (205, 198, 180),
            (150, 108, 70),
            (238, 236, 228),
            (196, 70, 110),
            (98, 62, 38),
            (240, 166, 50),
            (60, 140, 200),
            (70, 160, 90),
        ),
        parts=PARTS,
    )

    def __init__(
        self,
        tasks: Mapping[str, Any],
        length: int = 1000,
        size: Sequence[int] = (128, 128),
        scene_seed: int = 0,
        seed: int = 0,
        frames: int | None = None,
        cache_dir: str | None = None,
        pipeline: Sequence[dict | Callable] = (),
        label_sampler: dict | LabelSampler | None = None,
        test_mode: bool = False,
        allow_unlabelled: bool | Sequence[str] = False,
        leak_labels_to_crop: Sequence[str] = (),
        label_map_out: str | None = None,
        drop_unlabelled: bool = False,
        indices: int | Sequence[int] | None = None,
        metainfo: Mapping | None = None,
        lazy_init: bool = False,
    ) -> None:
        if not isinstance(length, int) or length < 1:
            raise ConfigError(f'Diorama: length must be a number of scenes of at least 1, got {length!r}')
        built = build_tasks(tasks)
        moving = [name for name, task in built.items() if task.frames > 1]
        self.rendered = 2 if moving else frames or 1
        try:
            self.size = check_arguments(scene_seed, 0, size, self.rendered)
        except ValueError as error:
            raise ConfigError(f'Diorama: {error}') from error
        self.scene_seed, self.length, self.cache_dir = scene_seed, length, cache_dir
        self._last: tuple[str, dict[str, np.ndarray]] = ('', {})
        super().__init__(
            built,
            seed=seed,
            frames=frames,
            pipeline=pipeline,
            label_sampler=label_sampler,
            test_mode=test_mode,
            allow_unlabelled=allow_unlabelled,
            leak_labels_to_crop=leak_labels_to_crop,
            label_map_out=label_map_out,
            drop_unlabelled=drop_unlabelled,
            indices=indices,
            metainfo=metainfo,
            lazy_init=lazy_init,
        )

    def list_samples(self) -> list[dict]:
        return [
            dict(sample_id=f'diorama_{self.scene_seed}_{n:06d}', img_path=None, next_path=None, number=n)
            for n in range(self.length)
        ]

    def label_files(self, info: dict, source: str) -> list[str]:
        return []  # rendered when asked for

    def load_image(self, info: dict) -> np.ndarray:
        return self._scene(info)['img'].copy()

    def load_next_image(self, info: dict) -> np.ndarray:
        return self._scene(info)['img_next'].copy()

    def sources(self) -> list[str]:
        return sorted({*super().sources(), *_CATEGORICAL, *_CONTINUOUS})

    def read_label(self, info: dict, task: Task) -> np.ndarray | None:
        if task.source in (*_CATEGORICAL, *_CONTINUOUS):
            return self._scene(info)[task.source].astype(np.int64 if task.source in _CATEGORICAL else np.float32)
        return super().read_label(info, task)

    # ---- scenes ----------------------------------------------------------------------------------------------------
    def _scene(self, info: dict) -> dict[str, np.ndarray]:
        """Everything about one scene, rendered once for its image and all its labels."""
        if self._last[0] != info['sample_id']:
            self._last = info['sample_id'], self._read_or_render(info)
        return self._last[1]

    def _read_or_render(self, info: dict) -> dict[str, np.ndarray]:
        if not self.cache_dir:
            return render(self.scene_seed, info['number'], self.size, self.rendered)
        form = f'v{RENDERER_VERSION}_{self.size[0]}x{self.size[1]}_{self.rendered}'
        path = Path(self.cache_dir, form, f'{info["sample_id"]}.npz').expanduser()
        wanted = ('img', *(('img_next',) if self.rendered == 2 else ()), *_CATEGORICAL, *_CONTINUOUS)
        if path.is_file():
            return _read_scene(path, wanted)
        made = render(self.scene_seed, info['number'], self.size, self.rendered)
        kept = {name: made[name].astype(np.uint8) if name in _CATEGORICAL else made[name] for name in wanted}
        write_atomically(path, lambda file: np.savez(file, **kept))
        return kept


def _read_scene(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays ``names`` of a stored scene."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in names}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FileError(
            f'{path}: expected a stored Diorama scene with {list(names)}, found a file that cannot be read '
            f'({type(error).__name__}: {error}); delete it and it will be rendered again'
        ) from error
