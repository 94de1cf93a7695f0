"""PASCAL-Context for five tasks, in the packing published with ATRC and used since (``PASCALContext.tar.gz``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmmtl.datasets.io.addresses import address
from mmmtl.datasets.io.derived import boundary_of_classes, decode_normals, unit_or_unknown
from mmmtl.datasets.io.folders import read_id_list
from mmmtl.datasets.io.label_cache import LabelCache
from mmmtl.datasets.io.matlab import read_mat
from mmmtl.datasets.io.pictures import read_map, read_picture
from mmmtl.datasets.io.storage import is_file
from mmmtl.errors import ConfigError, FileError
from mmmtl.evaluation.functional.boundary.labels import segmentation_boundary
from mmmtl.evaluation.functional.boundary.thinning import thin
from mmmtl.registry import DATASETS
from mmmtl.tasks.base import resize_nearest
from mmmtl.utils.files import read_json

from .base import MTLDataset
from .pascal_parts import PERSON, merge_parts, object_categories, read_part_index, write_part_index

# Ids of the 459 classes of PASCAL-Context that also are classes of NYUDv2 by name, and tvmonitor: where surface
# normals distilled from a network trained on NYUDv2 can be trusted. `compatible_classes` computes them from the two
# data sets' lists of names.
NORMALS_CLASSES = tuple(
    int(number)
    for number in """
    3 4 6 9 10 11 13 15 17 18 22 23 29 30 33 34 36 37 38 39 41 43 46 49 50 51 53 55 56 59 61 62 65 66 68 69 72 73 78
    83 84 85 87 88 95 96 101 104 105 107 111 113 115 122 124 135 141 142 143 146 150 154 157 158 159 165 172 174 181
    183 184 191 193 195 197 199 202 213 215 216 219 220 223 225 228 230 232 233 238 239 242 243 246 250 251 252 255
    260 261 263 269 272 273 275 281 283 284 285 286 287 288 290 291 292 293 295 304 307 309 310 314 315 319 323 329
    330 331 336 342 345 349 350 351 352 355 357 368 370 371 374 379 380 383 384 397 401 403 405 407 408 411 412 413
    414 417 419 421 423 427 429 430 432 440 441 442 443 444 446 454 457
    """.split()
)
CONTEXT_CLASSES = 459


def compatible_classes(context: Mapping[str, int], nyu: Iterable[str]) -> tuple[int, ...]:
    """Ids of the context classes whose name also is in ``nyu`` (but not 'unknown'), and of tvmonitor.

    Args:
        context: ``{name: id}`` of PASCAL-Context.
        nyu: Names of the classes of NYUDv2.
    """
    names = set(nyu) - {'unknown'}
    return tuple(sorted(i for name, i in context.items() if name in names or name == 'tvmonitor'))


BOUNDARIES = {
    'laplacian': ('boundary 1', boundary_of_classes),
    'partition': ('boundary partition 1', lambda classes: thin(segmentation_boundary(classes))),
}
"""How boundaries follow from the classes: name of the recipe in the cache, and the recipe."""


@DATASETS.register_module()
class PascalContext(MTLDataset):
    """PASCAL-Context: 4998 training and 5105 validation photographs, five tasks.

    Layout under ``data_root``: ``JPEGImages/ID.jpg``; ``ImageSets/Context/SPLIT.txt``;
    ``semseg/VOC12/ID.png``, else ``semseg/pascal-context/ID.png`` (0..20, 255 unknown);
    ``pascal-context/trainval/ID.mat`` (``LabelMap``, 459 classes); ``human_parts/ID.mat`` (``anno``);
    ``normals_distill/ID.png``; ``sal_distill/ID.png``; ``ImageSets/Parts/SPLIT.txt`` (JSON of the objects in
    every image, optional).

    Labels: ``semseg``; ``human_parts`` (six parts; 0 everywhere where nobody is, which the task then leaves
    out); ``saliency`` (picture above one half); ``normals`` (picture * 2 / 255 - 1, unknown outside
    ``normals_classes``); ``boundary`` (of ``LabelMap``, see ``boundaries``). A label of another size than its
    image is resized by nearest pixel, normals bicubically and brought back to unit length.

    Boundaries, parts and the mask of trusted normals are derived once and kept in a cache.

    Args:
        cache_dir: ``'auto'``: ``.mmmtl_cache`` in ``data_root`` (the user's cache folder where that is
            read-only); a path; or None.
        normals_classes: Context classes whose normals are trusted: ids, a JSON file with a list of ids, or
            ``dict(context=FILE, nyu=FILE)``, two JSON files of the authors' form ``{name: id}``. Default: the
            170 published.
        boundaries: ``laplacian``: where the Laplacian of the classes is not 0, thinned, as networks are trained;
            ``partition``: where a class changes to the right or below, thinned, as the published evaluation
            scores them.
        parts_need_person: Count parts as a label only in images with a person, as the published maps of
            partial labels do. Needs ``ImageSets/Parts/SPLIT.txt``.
    """

    METAINFO = dict(class_count=21)

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str,
        split: str = 'train',
        cache_dir: str | None = 'auto',
        normals_classes: Sequence[int] | str | Mapping[str, str] | None = None,
        boundaries: str = 'laplacian',
        parts_need_person: bool = False,
        **kwargs: Any,
    ) -> None:
        if boundaries not in BOUNDARIES:
            raise ConfigError(f"PascalContext: boundaries='{boundaries}' is not one of {', '.join(BOUNDARIES)}")
        self.boundaries = boundaries
        self.cache = LabelCache.beside(data_root, cache_dir)
        ids = np.array(_class_ids(normals_classes), np.int64)
        self.trusted = np.zeros(CONTEXT_CLASSES + 1, np.uint8)
        self.trusted[ids] = 1
        self._normals_recipe = f'normals_valid 1 {",".join(map(str, ids.tolist()))}'
        self.parts_need_person = parts_need_person
        self.part_index: dict[str, list[int]] = {}
        super().__init__(tasks, data_root, split=split, **kwargs)

    @property
    def part_index_path(self) -> str:
        """The published list of objects per image."""
        return self.path('ImageSets', 'Parts', f'{self.split}.txt')

    def list_samples(self) -> list[dict]:
        ids = read_id_list(self.path('ImageSets', 'Context', f'{self.split}.txt'))
        parts = 'human_parts' in {t.source for t in self.tasks.values()}
        if parts:
            self.part_index = read_part_index(self.part_index_path)
            lost = [i for i in ids if i not in self.part_index]
            if self.parts_need_person and lost:
                raise FileError(
                    f'{self.part_index_path}: parts_need_person needs every id in it, {len(lost)} are not, for example '
                    f"'{lost[0]}': tools/dataset_converters/prepare_labels.py writes it"
                )
        samples = []
        for i in ids:
            info: dict[str, Any] = dict(sample_id=i, img_path=self.path('JPEGImages', f'{i}.jpg'))
            if parts and self.parts_need_person and PERSON not in self.part_index[i]:
                info['available'] = ('semseg', 'saliency', 'normals', 'boundary')
            if i in self.part_index:
                info['objects'] = self.part_index[i]
            samples.append(info)
        return samples

    # ---- files -----------------------------------------------------------------------------------------------------
    def reader_state(self) -> dict[str, Any]:
        return {}  # what is in an image stands in its description

    def label_file(self, info: dict, source: str) -> str:
        i = info['sample_id']
        if source == 'semseg':
            voc = Path(self.path('semseg', 'VOC12', f'{i}.png'))
            return address(voc) if is_file(voc) else self.path('semseg', 'pascal-context', f'{i}.png')
        return {
            'human_parts': self.path('human_parts', f'{i}.mat'),
            'saliency': self.path('sal_distill', f'{i}.png'),
            'normals': self.path('normals_distill', f'{i}.png'),
            'boundary': self.path('pascal-context', 'trainval', f'{i}.mat'),
        }[source]

    def label_files(self, info: dict, source: str) -> list[str]:
        if source == 'human_parts' and PERSON not in info.get('objects', [PERSON]):
            return []  # nobody is in the image: a map of zeros
        also = [self.label_file(info, 'boundary')] if source == 'normals' else []  # the mask of trusted pixels
        return [self.label_file(info, source), *also]

    def _context(self, info: dict) -> np.ndarray:
        """The 459-class map."""
        path = self.label_file(info, 'boundary')
        classes = np.asarray(read_mat(path, 'LabelMap'))
        if classes.ndim != 2 or classes.dtype.kind not in 'biu' or classes.max() > CONTEXT_CLASSES:
            raise FileError(
                f'{path}: expected LabelMap (H, W) of integers up to {CONTEXT_CLASSES}, found {classes.dtype} '
                f'{classes.shape} up to {classes.max()}'
            )
        return classes

    # ---- labels ----------------------------------------------------------------------------------------------------
    def load_semseg(self, info: dict) -> np.ndarray:
        return _fit(read_map(self.label_file(info, 'semseg')), info)

    def load_saliency(self, info: dict) -> np.ndarray:
        return _fit((read_map(self.label_file(info, 'saliency'), grey=True) > 127).view(np.uint8), info)

    def load_boundary(self, info: dict) -> np.ndarray:
        return _fit(self._boundary(info), info)

    def load_human_parts(self, info: dict) -> np.ndarray:
        known = info.get('objects')
        if known is not None and PERSON not in known:
            return np.zeros(info.get('img_size', (512, 512)), np.uint8)
        return _fit(self._parts(info), info)

    def load_normals(self, info: dict) -> np.ndarray:
        vectors = decode_normals(read_picture(self.label_file(info, 'normals')))
        trusted = self._trusted_normals(info)
        size = info.get('img_size', vectors.shape[-2:])
        if vectors.shape[-2:] != size:
            # the published recipe interpolates the stored numbers; here the result is brought back to unit length
            planes = np.nan_to_num(vectors.transpose(1, 2, 0))
            planes = cv2.resize(planes, size[::-1], interpolation=cv2.INTER_CUBIC)
            vectors = unit_or_unknown(planes.transpose(2, 0, 1), tolerance=0)
        np.copyto(vectors, np.float32(np.nan), where=resize_nearest(trusted, size) == 0)
        return vectors

    # ---- derived maps, cached --------------------------------------------------------------------------------------
    def _boundary(self, info: dict) -> np.ndarray:
        recipe, make = BOUNDARIES[self.boundaries]
        return self.cache.get(
            recipe,
            info['sample_id'],
            [self.label_file(info, 'boundary')],
            lambda: make(self._context(info)).astype(np.uint8),
        )

    def _trusted_normals(self, info: dict) -> np.ndarray:
        return self.cache.get(
            self._normals_recipe,
            info['sample_id'],
            [self.label_file(info, 'boundary')],
            lambda: self.trusted[self._context(info)],
        )

    def _parts(self, info: dict) -> np.ndarray:
        def compute() -> np.ndarray:
            merged = merge_parts(self.label_file(info, 'human_parts'))
            # nobody: the published recipe goes on with an empty map of this size
            return np.zeros((512, 512), np.uint8) if merged is None else merged

        return self.cache.get('human_parts 1', info['sample_id'], [self.label_file(info, 'human_parts')], compute)

    def derive(self, info: dict) -> list[int] | None:
        makers = dict(boundary=self._boundary, normals=self._trusted_normals, human_parts=self._parts)
        for source in {t.source for t in self.tasks.values()} & set(makers):
            makers[source](info)
        if 'human_parts' not in {t.source for t in self.tasks.values()}:
            return None
        known = self.part_index.get(info['sample_id'])
        return object_categories(self.label_file(info, 'human_parts')) if known is None else known

    def finish_derived(self, notes: Mapping[str, Any]) -> None:
        found = {i: kinds for i, kinds in notes.items() if kinds is not None}
        known = read_part_index(self.part_index_path)  # which the reader of an index has not read
        self.part_index = known | found
        if not set(found) <= set(known):
            write_part_index(self.part_index_path, self.part_index)


def _fit(label: np.ndarray, info: dict) -> np.ndarray:
    """The map on the grid of its image."""
    return resize_nearest(label, info.get('img_size', label.shape))


def _class_ids(chosen: Sequence[int] | str | Mapping[str, str] | None) -> tuple[int, ...]:
    """Ids of the classes whose normals are trusted, from any of the forms of the argument."""
    if chosen is None:
        return NORMALS_CLASSES
    if isinstance(chosen, Mapping):
        if set(chosen) != {'context', 'nyu'}:
            raise ConfigError(f'normals_classes: expected dict(context=FILE, nyu=FILE), got the keys {sorted(chosen)}')
        context, nyu = (read_json(chosen[k], 'JSON {name: id}') for k in ('context', 'nyu'))
        chosen = compatible_classes(context, nyu)
    elif isinstance(chosen, str):
        chosen = read_json(chosen, 'a JSON list of ids')
    ids = list(chosen)
    wrong = [i for i in ids if not isinstance(i, int) or not 0 <= i <= CONTEXT_CLASSES]
    if not ids or wrong:
        raise ConfigError(f'normals_classes: expected ids of 0..{CONTEXT_CLASSES}, found {wrong[:5] or "none"}')
    return tuple(sorted(ids))
