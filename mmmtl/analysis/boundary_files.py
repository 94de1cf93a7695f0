"""Boundary evaluation of files: probability maps in one folder, labels in another, counts to keep and merge."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.matlab import dense, read_mat, read_mat_map, variables
from mmmtl.datasets.io.values import full_scale_mask, spread, tell_mask
from mmmtl.engine.checkpoint_files import file_digest
from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.boundary.counts import average_precision, best_f, best_point, f_curve, precision_recall
from mmmtl.evaluation.functional.boundary.evaluate import BoundarySettings, image_counts
from mmmtl.evaluation.functional.boundary.labels import LABEL_KINDS, segmentation_boundary
from mmmtl.utils.files import read_json, write_json
from mmmtl.utils.labels import IGNORE

from .prediction_files import stored_numbers

_PREDICTIONS = ('.png', '.npy', '.mat')
_LABELS = ('.mat', '.png', '.npy')


def read_prediction(path: str | Path) -> np.ndarray:
    """A boundary probability map.

    Args:
        path: ``.png`` (8 bit = 0..255, 16 bit = 0..65535), ``.npy`` (float in [0, 1], or uint8; (H, W) or (1, H, W)) or
            ``.mat`` with one variable: such a map, or ``ucm2``, an ultrametric contour map of double size, of which the
            pixels are every second number.

    Returns:
        (H, W): uint8, or float in [0, 1].

    Raises:
        ConfigError: When the file holds something else.
    """
    path = Path(path)
    value, white = (_ultrametric(path), 1.0) if path.suffix == '.mat' else _one_map(path, label=False)
    if value.dtype in (np.uint8, np.uint16):
        white = np.iinfo(value.dtype).max if path.suffix in ('.mat', '.npy') else white
        return value if value.dtype == np.uint8 and white == 255 else value / np.float64(white)
    if value.dtype.kind != 'f':
        raise ConfigError(f'{path}: expected 8 or 16 bits or floats in [0, 1], found {value.dtype}')
    low, high = float(np.min(value, initial=0.0)), float(np.max(value, initial=0.0))
    if not -1e-6 <= low <= high <= 1 + 1e-6:
        raise ConfigError(f'{path}: expected probabilities in [0, 1], found {low:g} .. {high:g}')
    return value


def _one_map(path: Path, label: bool) -> tuple[np.ndarray, float]:
    """The map (H, W) of a picture or array, and which number is white; of a label the ids of a palette."""
    value, white = stored_numbers(str(path), label, label)
    if path.suffix != '.npy' and value.ndim == 3 and (value[..., :1] == value[..., :3]).all():
        value = value[..., 0]  # grey stored as colour
    if value.ndim != 2:
        raise ConfigError(f'{path}: expected one map (H, W), found shape {value.shape}')
    return value, white


def _ultrametric(path: Path) -> np.ndarray:
    names = variables(path)
    if 'ucm2' in names:
        return np.asarray(read_mat(path, 'ucm2'))[2::2, 2::2]
    if len(names) != 1:
        raise ConfigError(f'{path}: expected one variable or ucm2, found {names}')
    value = np.asarray(read_mat(path, names[0]))
    if value.ndim != 2:
        raise ConfigError(f"{path}: expected one map (H, W) in '{names[0]}', found shape {value.shape}")
    return value


def read_labels(path: str | Path, kind: str = 'contours', white: int | None = None) -> list[np.ndarray]:
    """Boundary labels of all annotators.

    Args:
        path: ``.png`` or ``.npy`` (one annotator), or ``.mat``: BSDS (``groundTruth``), SBD (``GTcls`` or
            ``GTinst``: the boundaries of all classes or instances together) or a segmentation (``LabelMap``, as
            PASCAL-Context has it).
        kind: What a ``.png`` or ``.npy`` is: ``contours`` or ``regions`` (ids; the published NYUDv2 protocol reads its
            edge pictures this way).
        white: The number that stands for a boundary in files of contours that hold no 1; default: 255 (65535) where
            this file holds 0 and that number alone, as for the labels of a data set.

    Returns:
        uint8 (H, W) maps, not thinned: 1 = boundary, 255 = unknown.

    Raises:
        ConfigError: The kind is unknown, or a picture of contours holds other numbers than 0, 1 and 255.
    """
    if kind not in LABEL_KINDS:
        raise ConfigError(f'kind must be one of {", ".join(LABEL_KINDS)}, got {kind!r}')
    path = Path(path)
    if path.suffix == '.mat':
        return [np.asarray(label, np.uint8) for label in _read_mat(path)]
    value = _one_map(path, label=True)[0]
    if kind == 'regions':
        return [np.asarray(segmentation_boundary(value), np.uint8)]
    white = full_scale_mask([value]) if white is None else white
    if white is not None:
        value = np.where(value == white, 1, value)
    wrong = np.setdiff1d(np.unique(value), (0, 1, IGNORE))
    if wrong.size:
        raise ConfigError(
            f'{path}: expected contours of 0, 1 and {IGNORE} (unknown), or of 0 and {IGNORE} alone, found '
            f'{wrong[:8].tolist()}. A map of region ids is read with labels=regions'
        )
    return [value.astype(np.uint8)]


def _read_mat(path: Path) -> list[np.ndarray]:
    names = variables(path)
    if 'groundTruth' in names:
        return list(read_mat_map(path, 'groundTruth'))
    for name in ('GTcls', 'GTinst'):
        if name in names:
            planes = read_mat(path, name).Boundaries
            planes = list(planes) if isinstance(planes, np.ndarray) and planes.dtype == object else [planes]
            return [np.any([dense(plane) != 0 for plane in planes], axis=0)]
    if 'LabelMap' in names:
        return [segmentation_boundary(read_mat_map(path, 'LabelMap'))]
    raise ConfigError(f'{path}: expected groundTruth (BSDS), GTcls or GTinst (SBD) or LabelMap, found {sorted(names)}')


def read_counts(path: str | Path, thresholds: Sequence[float]) -> np.ndarray:
    """Counts of one image as the published programs write them.

    Args:
        path: Text with a line per threshold: the threshold, matched label pixels, label pixels, matched predicted
            pixels, predicted pixels (``ID_ev1.txt`` of the Berkeley benchmark), or these without the threshold (SEISM).
        thresholds: That the counts must be of.

    Returns:
        int64 (4, thresholds).

    Raises:
        ConfigError: The file holds something else, or counts at other thresholds.
    """
    try:
        rows = np.loadtxt(path, ndmin=2)
    except ValueError as error:
        raise ConfigError(f'{path}: expected lines of counts ({error})') from error
    if rows.shape[1] not in (4, 5) or len(rows) != len(thresholds):
        raise ConfigError(
            f'{path}: expected {len(thresholds)} lines (one per threshold) of 4 counts or a threshold and 4 counts, found '
            f'{len(rows)} lines of {rows.shape[1]} numbers'
        )
    if rows.shape[1] == 5 and not np.allclose(rows[:, 0], thresholds, atol=1e-4):
        raise ConfigError(f'{path}: its thresholds ({rows[0, 0]:g}, {rows[-1, 0]:g}) are not those of the protocol')
    counts = rows[:, -4:]
    if (counts < 0).any() or (counts != np.rint(counts)).any() or (counts[:, [0, 2]] > counts[:, [1, 3]]).any():
        raise ConfigError(f'{path}: expected whole numbers with at most as many matched pixels as there are')
    return counts.T.astype(np.int64)


@dataclass
class BoundaryCounts:
    """Counts of a set of images.

    Attributes:
        settings: What they were counted with.
        images: ``{image id: int64 (4, thresholds)}``, see
            :func:`~mmmtl.evaluation.functional.boundary.evaluate.image_counts`.
        sources: ``{image id: digest of the files that were counted}``, as far as it is known.
    """

    settings: BoundarySettings
    images: dict[str, np.ndarray] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        images = {k: v.tolist() for k, v in sorted(self.images.items())}
        write_json(path, dict(settings=asdict(self.settings), images=images, sources=self.sources), indent=None)

    @classmethod
    def load(cls, path: str | Path) -> BoundaryCounts:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: When the file is not one of counts.
        """
        try:
            content = read_json(path)
            chosen = dict(content['settings'], thresholds=tuple(content['settings']['thresholds']))
            settings = BoundarySettings(**chosen)
            images = {name: np.array(counts, np.int64) for name, counts in content['images'].items()}
            sources = dict(content.get('sources', {}))
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ConfigError(f'{path} does not hold boundary counts ({error})') from error
        wrong = [name for name, counts in images.items() if counts.shape != (4, len(settings.thresholds))]
        if wrong:
            raise ConfigError(f'{path}: counts of {wrong[:3]} do not fit its {len(settings.thresholds)} thresholds')
        return cls(settings, images, sources)

    def of_sources(self, sources: Mapping[str, str]) -> BoundaryCounts:
        """Without the counts of images whose files are others now, or were not noted."""
        images = {n: c for n, c in self.images.items() if n not in sources or self.sources.get(n) == sources[n]}
        return BoundaryCounts(self.settings, images, self.sources)

    @classmethod
    def read_folder(
        cls, folder: str | Path, settings: BoundarySettings, image_list: Sequence[str] | None = None
    ) -> BoundaryCounts:
        """Counts that a published program left: ``ID_ev1.txt`` (Berkeley) or ``ID.txt`` (SEISM), see :func:`read_counts`.

        Args:
            folder: Where they are.
            settings: What they were counted with.
            image_list: Ids to read; default: all.

        Raises:
            ConfigError: A file holds something else, there is none, or an image of the list has none.
        """
        files = sorted(Path(folder).glob('*_ev1.txt')) or sorted(Path(folder).glob('*.txt'))
        if not files:
            raise ConfigError(f'{folder}: holds no ID_ev1.txt or ID.txt with counts')
        named = {f.stem.removesuffix('_ev1'): f for f in files}
        missing = [name for name in image_list or () if name not in named]
        if missing:
            raise ConfigError(f'{folder}: holds no counts of {len(missing)} images: {_some(missing)}')
        return cls(settings, {n: read_counts(named[n], settings.thresholds) for n in image_list or named})

    def merge(self, other: BoundaryCounts) -> BoundaryCounts:
        """Counts of both sets of images.

        Raises:
            ValueError: When they were counted with other settings, or disagree about an image.
        """
        if self.settings != other.settings:
            mine, theirs = asdict(self.settings), asdict(other.settings)
            apart = {name: (mine[name], theirs[name]) for name in mine if mine[name] != theirs[name]}
            raise ConfigError(f'counts made with different settings cannot be merged: {apart}')
        both = [name for name in self.images if name in other.images]
        wrong = [name for name in both if (self.images[name] != other.images[name]).any()]
        if wrong:
            raise ConfigError(f'the counts disagree about {len(wrong)} images, for example {wrong[0]!r}')
        return BoundaryCounts(self.settings, {**self.images, **other.images}, {**self.sources, **other.sources})

    def metrics(self) -> dict[str, Any]:
        """Metrics of the set.

        Returns:
            ``ODS`` and ``OIS`` (each threshold or None, R, P, F), ``AP``, ``images`` (their number),
            ``thresholds`` (threshold, R, P, F of each) and ``per_image`` (best threshold, recall, precision, F by id).
        """
        if not self.images:
            raise ConfigError('there are no images to compute boundary metrics of')
        levels = self.settings.thresholds
        total = np.sum(list(self.images.values()), axis=0)
        best = {name: best_f(counts)[0] for name, counts in self.images.items()}
        chosen = np.sum([counts[:, best[name]] for name, counts in self.images.items()], axis=0)
        point = best_point(total, levels, self.settings.interpolate)
        return dict(
            ODS=dict(zip(('threshold', 'R', 'P', 'F'), point)),
            OIS=_row(chosen, None),
            AP=average_precision(total),
            images=len(self.images),
            thresholds=[_row(total[:, k], level) for k, level in enumerate(levels)],
            per_image={name: _row(self.images[name][:, k], levels[k]) for name, k in sorted(best.items())},
        )


def _row(counts: np.ndarray, threshold: float | None) -> dict[str, Any]:
    precision, recall = precision_recall(counts[:, None])
    f_value = f_curve(precision, recall)
    return dict(threshold=threshold, R=float(recall[0]), P=float(precision[0]), F=float(f_value[0]))


def _index(folder: str | Path, suffixes: Sequence[str], what: str) -> dict[str, Path]:
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'{what}: there is no folder {folder}')
    found: dict[str, Path] = {}
    for suffix in reversed(suffixes):  # of several labels of one name, the first suffix counts
        named = {path.stem: path for path in sorted(folder.glob(f'*{suffix}'))}
        twice = sorted(set(named) & set(found)) if what == 'predictions' else []
        if twice:
            raise ConfigError(f'{what}: {found[twice[0]]} and {named[twice[0]]} are of one image: keep one of the two')
        found.update(named)
    if not found:
        raise FileNotFoundError(f'{what}: {folder} holds no {" or ".join(suffixes)} file')
    return found


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')


def paired_files(
    pred_dir: str | Path, gt_dir: str | Path, image_list: Sequence[str] | None = None
) -> dict[str, tuple[Path, Path]]:
    """``{image id: (prediction, label)}`` by file name; the images of the list, or all that have a label.

    Raises:
        FileNotFoundError: When an image has no prediction or no label: a set with gaps has other numbers.
    """
    predictions, labels = _index(pred_dir, _PREDICTIONS, 'predictions'), _index(gt_dir, _LABELS, 'labels')
    wanted = list(dict.fromkeys(image_list)) if image_list is not None else sorted(labels)
    for known, folder, what in ((labels, gt_dir, 'label'), (predictions, pred_dir, 'prediction')):
        missing = [name for name in wanted if name not in known]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(wanted)} images have no {what} in {folder}: {_some(missing)}. '
                'Restrict the evaluation with a list of images (--image-list FILE) if that is meant.'
            )
    return {name: (predictions[name], labels[name]) for name in wanted}


def sources_of(
    pred_dir: str | Path, gt_dir: str | Path, kind: str, image_list: Sequence[str] | None = None
) -> dict[str, str]:
    """``{image id: digest}`` of the files that counts are made from, and of how the labels are read."""
    files = paired_files(pred_dir, gt_dir, image_list)
    return {n: f'{kind} {file_digest(p)[:16]} {file_digest(label)[:16]}' for n, (p, label) in files.items()}


def count_files(
    prediction: Path, label: Path, kind: str, settings: BoundarySettings, white: int | None = None
) -> np.ndarray:
    """Counts of one pair of files, with errors that name them."""
    value, maps = read_prediction(prediction), read_labels(label, kind, white)
    for boundary in maps:
        if boundary.shape != value.shape:
            turned = ' (one of them is rotated)' if boundary.shape == value.shape[::-1] else ''
            raise ConfigError(
                f'{prediction} is {value.shape[0]} x {value.shape[1]}, {label} is {boundary.shape[0]} x '
                f'{boundary.shape[1]} (height x width){turned}: predictions must have the size of the image'
            )
    unknown = np.all([boundary == IGNORE for boundary in maps], axis=0)
    # nothing can be found or missed where the label is unknown
    value = np.where(unknown, value.dtype.type(0), value)
    return image_counts(value, [boundary == 1 for boundary in maps], settings)


def _white_of(labels: Sequence[Path]) -> int | None:
    """The number of a boundary in pictures that hold 0 and 255 (65535) alone, told by some of them together."""
    pictures = [path for path in spread(labels, 16) if path.suffix == '.png']
    white = full_scale_mask(_one_map(path, label=True)[0] for path in pictures)
    if white is not None:
        tell_mask(str(pictures[0].parent), white)
    return white


def evaluate_folder(
    pred_dir: str | Path,
    gt_dir: str | Path,
    settings: BoundarySettings,
    kind: str = 'contours',
    image_list: Sequence[str] | None = None,
    known: Mapping[str, np.ndarray] | None = None,
    processes: int | None = None,
    progress: bool = True,
) -> BoundaryCounts:
    """Count a folder of predictions against a folder of labels.

    Args:
        pred_dir: ``ID.png`` or ``ID.npy`` per image, see :func:`read_prediction`.
        gt_dir: ``ID.mat``, ``ID.png`` or ``ID.npy`` per image, see :func:`read_labels`.
        settings: From :func:`~mmmtl.evaluation.functional.boundary.evaluate.protocol_settings`.
        kind: What picture labels are: ``contours`` or ``regions``.
        image_list: Ids to evaluate; default: all that have a label.
        known: Counts that need not be computed again.
        processes: Worker processes; default: one per core, but none for a handful of images.
        progress: Show a progress bar when it takes more than five seconds.

    Returns:
        Counts of every image.
    """
    from tqdm import tqdm

    from mmmtl.evaluation.metrics.pool import MeasurePool

    files = paired_files(pred_dir, gt_dir, image_list)
    counts = BoundaryCounts(settings, {name: (known or {})[name] for name in files if name in (known or {})})
    left = [name for name in files if name not in counts.images]
    white = _white_of([label for _, label in files.values()]) if kind == 'contours' else None
    if processes is None:
        processes = min(os.cpu_count() or 1, len(left) // 16)
    pool = MeasurePool(0 if processes < 2 else processes)
    with tqdm(total=len(left), desc='matching boundaries', unit='image', delay=5, disable=not progress) as bar:

        def keep(results: Iterable[tuple[Any, dict]]) -> None:
            for name, result in results:
                counts.images[name] = result['counts']
                bar.update()

        try:
            for name in left:
                keep(pool.submit(name, [('counts', count_files, (*files[name], kind, settings, white))]))
        finally:
            keep(pool.finish())
    return counts
