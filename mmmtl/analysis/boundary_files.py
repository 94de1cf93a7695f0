"""Boundary evaluation of files: probability maps in one folder, labels in another, counts to keep and merge."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.boundary.counts import average_precision, best_f, best_point, f_curve, precision_recall
from mmmtl.evaluation.functional.boundary.evaluate import BoundarySettings, image_counts
from mmmtl.evaluation.functional.boundary.labels import LABEL_KINDS, segmentation_boundary
from mmmtl.utils.files import read_json, write_json

_PREDICTIONS = ('.png', '.npy')
_LABELS = ('.mat', '.png', '.npy')


def read_prediction(path: str | Path) -> np.ndarray:
    """A boundary probability map.

    Args:
        path: ``.png`` (8 bit = 0..255, 16 bit = 0..65535) or ``.npy`` (float in [0, 1], or uint8; (H, W) or (1, H, W)).

    Returns:
        (H, W): uint8, or float in [0, 1].

    Raises:
        ConfigError: When the file holds something else.
    """
    path = Path(path)
    value = np.load(path, allow_pickle=False) if path.suffix == '.npy' else _read_png(path)
    if value.ndim == 3 and len(value) == 1:
        value = value[0]
    if value.ndim != 2:
        raise ConfigError(f'{path}: expected one map (H, W), found shape {value.shape}')
    if value.dtype == np.uint16:
        return value / np.float64(65535)
    if value.dtype == np.uint8 or value.dtype.kind == 'f':
        return value
    raise ConfigError(f'{path}: expected 8 or 16 bits or floats in [0, 1], found {value.dtype}')


def read_labels(path: str | Path, kind: str = 'contours') -> list[np.ndarray]:
    """Boundary maps of all annotators.

    Args:
        path: ``.png`` or ``.npy`` (one annotator), or ``.mat``: BSDS (``groundTruth``), SBD (``GTcls`` or
            ``GTinst``: the boundaries of all classes or instances together) or a segmentation (``LabelMap``, as
            PASCAL-Context has it).
        kind: What a ``.png`` or ``.npy`` is: ``contours`` (non-zero = boundary) or ``regions`` (ids; the published
            NYUDv2 protocol reads its edge pictures this way).

    Returns:
        Boolean (H, W) maps, not thinned.
    """
    if kind not in LABEL_KINDS:
        raise ConfigError(f'kind must be one of {", ".join(LABEL_KINDS)}, got {kind!r}')
    path = Path(path)
    if path.suffix == '.mat':
        return _read_mat(path)
    value = np.load(path, allow_pickle=False) if path.suffix == '.npy' else _read_png(path)
    if value.ndim == 3 and len(value) == 1:
        value = value[0]
    if value.ndim != 2:
        raise ConfigError(f'{path}: expected one map (H, W), found shape {value.shape}')
    return [segmentation_boundary(value) if kind == 'regions' else value != 0]


def _read_png(path: Path) -> np.ndarray:
    import cv2

    value = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if value is None:
        raise ConfigError(f'{path}: cannot be read as an image')
    if value.ndim == 3 and (value[..., :1] == value[..., :3]).all():  # grey stored as colour
        value = value[..., 0]
    return value


def _read_mat(path: Path) -> list[np.ndarray]:
    from scipy.io import loadmat

    content = loadmat(str(path))
    if 'groundTruth' in content:
        return [_dense(cell['Boundaries'][0, 0]) for cell in content['groundTruth'].ravel()]
    for name in ('GTcls', 'GTinst'):
        if name in content:
            maps = content[name]['Boundaries'][0, 0].ravel()
            return [np.any([_dense(m) for m in maps], axis=0)]
    if 'LabelMap' in content:
        return [segmentation_boundary(content['LabelMap'])]
    names = sorted(name for name in content if not name.startswith('__'))
    raise ConfigError(f'{path}: expected groundTruth (BSDS), GTcls or GTinst (SBD) or LabelMap, found {names}')


def _dense(value: Any) -> np.ndarray:
    return np.asarray(value.todense() if hasattr(value, 'todense') else value) != 0


@dataclass
class BoundaryCounts:
    """Counts of a set of images.

    Attributes:
        settings: What they were counted with.
        images: ``{image id: int64 (4, thresholds)}``, see
            :func:`~mmmtl.evaluation.functional.boundary.evaluate.image_counts`.
    """

    settings: BoundarySettings
    images: dict[str, np.ndarray] = field(default_factory=dict)

    def save(self, path: str | Path) -> None:
        """Write as JSON."""
        content = dict(settings=asdict(self.settings), images={k: v.tolist() for k, v in sorted(self.images.items())})
        write_json(path, content, indent=None)

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
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ConfigError(f'{path} does not hold boundary counts ({error})') from error
        wrong = [name for name, counts in images.items() if counts.shape != (4, len(settings.thresholds))]
        if wrong:
            raise ConfigError(f'{path}: counts of {wrong[:3]} do not fit its {len(settings.thresholds)} thresholds')
        return cls(settings, images)

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
        return BoundaryCounts(self.settings, {**self.images, **other.images})

    def figures(self) -> dict[str, Any]:
        """Figures of the set.

        Returns:
            ``ODS`` and ``OIS`` (each threshold or None, R, P, F), ``AP``, ``images`` (their number),
            ``thresholds`` (threshold, R, P, F of each) and ``per_image`` (best threshold, recall, precision, F by id).
        """
        if not self.images:
            raise ConfigError('there are no images to compute boundary figures of')
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
    for suffix in reversed(suffixes):  # of several files of one name, the first suffix counts
        found.update({path.stem: path for path in sorted(folder.glob(f'*{suffix}'))})
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
        FileNotFoundError: When an image has no prediction or no label: a set with gaps has other figures.
    """
    predictions, labels = _index(pred_dir, _PREDICTIONS, 'predictions'), _index(gt_dir, _LABELS, 'labels')
    wanted = list(dict.fromkeys(image_list)) if image_list is not None else sorted(labels)
    for known, folder, what in ((labels, gt_dir, 'label'), (predictions, pred_dir, 'prediction')):
        missing = [name for name in wanted if name not in known]
        if missing:
            raise FileNotFoundError(
                f'{len(missing)} of {len(wanted)} images have no {what} in {folder}: {_some(missing)}. '
                'Restrict the evaluation with a list of images if that is meant.'
            )
    return {name: (predictions[name], labels[name]) for name in wanted}


def count_files(prediction: Path, label: Path, kind: str, settings: BoundarySettings) -> np.ndarray:
    """Counts of one pair of files, with errors that name them."""
    value, maps = read_prediction(prediction), read_labels(label, kind)
    for boundary in maps:
        if boundary.shape != value.shape:
            turned = ' (one of them is rotated)' if boundary.shape == value.shape[::-1] else ''
            raise ConfigError(
                f'{prediction} is {value.shape[0]} x {value.shape[1]}, {label} is {boundary.shape[0]} x '
                f'{boundary.shape[1]} (height x width){turned}: predictions must have the size of the image'
            )
    return image_counts(value, maps, settings)


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
                keep(pool.submit(name, [('counts', count_files, (*files[name], kind, settings))]))
        finally:
            keep(pool.finish())
    return counts
