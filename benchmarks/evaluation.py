"""How much faster the metrics are than the literal loops of their definitions, on one core.

python benchmarks/evaluation.py [--rounds 5] [--size 512 512] [--skip-boundary]

Both sides of a ratio take turns in one process and are timed in processor time, so a busy machine changes little; the
smallest of the rounds counts. The literal loops are written out below: one comparison per class, per threshold, per
figure, as published meters compute them, and for boundaries a tree search and a cost-optimal assignment per threshold.
Every pair is also checked for equal results.
"""

from __future__ import annotations

import os

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ[_name] = '1'  # before numpy is imported

import argparse  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from scipy.ndimage import gaussian_filter  # noqa: E402
from scipy.sparse import csr_matrix  # noqa: E402
from scipy.sparse.csgraph import min_weight_full_bipartite_matching  # noqa: E402
from scipy.spatial import cKDTree  # noqa: E402
from skimage.morphology import thin as literal_thin  # noqa: E402

from mmmtl.evaluation import DepthError, NormalsError  # noqa: E402
from mmmtl.evaluation.functional.boundary.evaluate import BoundarySettings, image_counts, protocol_settings, quantised  # noqa: E402
from mmmtl.evaluation.functional.boundary.labels import segmentation_boundary  # noqa: E402
from mmmtl.evaluation.functional.boundary.matching import match_pixels  # noqa: E402
from mmmtl.evaluation.functional.boundary.nms import suppress  # noqa: E402
from mmmtl.evaluation.functional.saliency import THRESHOLDS, threshold_counts  # noqa: E402
from mmmtl.evaluation.functional.segmentation import confusion_matrix  # noqa: E402


# ---- the literal loops -----------------------------------------------------------------------------------------------
def literal_segmentation(pred: torch.Tensor, gt: torch.Tensor, classes: int) -> np.ndarray:
    """True positives, false positives and false negatives (3, classes), class by class."""
    valid, rows = gt != 255, []
    for i in range(classes):
        is_gt, is_pred = gt == i, pred == i
        rows.append(
            (
                torch.sum(is_gt & is_pred & valid).item(),
                torch.sum(~is_gt & is_pred & valid).item(),
                torch.sum(is_gt & ~is_pred & valid).item(),
            )
        )
    return np.array(rows).T


def literal_saliency(pred: torch.Tensor, gt: torch.Tensor) -> np.ndarray:
    """The same (3, thresholds), threshold by threshold, in float32."""
    valid, rows = (gt != 255).float(), []
    for threshold in THRESHOLDS:
        found, salient = (pred >= threshold).float(), (gt == 1).float()
        rows.append(
            (
                torch.sum(found * salient * valid).item(),
                torch.sum(found * (1 - salient) * valid).item(),
                torch.sum((1 - found) * salient * valid).item(),
            )
        )
    return np.array(rows).T


def literal_depth(pred: torch.Tensor, gt: torch.Tensor) -> np.ndarray:
    """Sums of e², log error², |e| / g, e² / g and |e| over valid pixels, figure by figure."""
    mask = torch.isfinite(gt) & (gt > 0)
    pred = pred.clone()
    pred[pred <= 0] = 1e-9
    return np.array(
        [
            torch.pow(gt[mask] - pred[mask], 2).sum().item(),
            torch.pow(torch.log(gt[mask]) - torch.log(pred[mask]), 2).sum().item(),
            (torch.abs(gt[mask] - pred[mask]) / gt[mask]).sum().item(),
            (torch.pow(gt[mask] - pred[mask], 2) / gt[mask]).sum().item(),
            torch.abs(gt[mask] - pred[mask]).sum().item(),
        ]
    )


def literal_normals(pred: torch.Tensor, gt: torch.Tensor) -> np.ndarray:
    """Sum of angles in degrees over valid pixels."""
    valid = torch.isfinite(gt).all(0)
    pred, gt = torch.nn.functional.normalize(pred, dim=0), torch.nn.functional.normalize(gt, dim=0)
    angle = 2 * torch.atan2((pred - gt).norm(dim=0), (pred + gt).norm(dim=0))
    return np.array([(angle * 180 / np.pi)[valid].sum().item()])


def literal_boundary(probability: np.ndarray, gt: np.ndarray, settings: BoundarySettings) -> np.ndarray:
    """Matched pixels per threshold: thinning, a tree search and a cost-optimal assignment for each."""
    value = quantised(probability) / 255.0
    value = suppress(value) if settings.nms else value
    radius = settings.max_dist * np.hypot(*gt.shape)
    targets = np.argwhere(literal_thin(gt))
    counts = []
    for threshold in settings.thresholds:
        positive = value >= threshold if settings.inclusive else value > np.float32(threshold)
        pixels = np.argwhere(literal_thin(positive))
        if not len(pixels):
            counts.append(0)
            continue
        pairs = cKDTree(pixels).sparse_distance_matrix(cKDTree(targets), radius, output_type='coo_matrix')
        n, m = len(pixels), len(targets)
        alone = np.arange(n)
        cost = np.concatenate([pairs.data + 1, np.full(n, 100 * radius)])  # a pixel may stay alone, at a cost
        ends = (np.concatenate([pairs.row, alone]), np.concatenate([pairs.col, m + alone]))
        chosen = min_weight_full_bipartite_matching(csr_matrix((cost, ends), shape=(n, n + m)))[1]
        counts.append(int((chosen < m).sum()))
    return np.array(counts)


# ---- timing ----------------------------------------------------------------------------------------------------------
def best_times(rounds: int, *cases: Callable[[], Any]) -> list[float]:
    """Smallest processor time of each case in milliseconds; the cases take turns."""
    spent = [[] for _ in cases]
    for _ in range(rounds):
        for case, times in zip(cases, spent):
            start = time.process_time()
            case()
            times.append(time.process_time() - start)
    return [1000 * min(times) for times in spent]


def report(name: str, times: Sequence[float], goal: float | None) -> bool:
    """Print a ratio; whether it reaches its goal."""
    ratio = times[0] / times[1]
    target = f'   goal >= {goal:g}' if goal else ''
    print(f'{name:44s} literal {times[0]:9.2f} ms   here {times[1]:8.2f} ms   {ratio:6.1f} x{target}', flush=True)
    return goal is None or ratio >= goal


def pixel_metrics(size: tuple[int, int], rounds: int) -> bool:
    """Segmentation, saliency, depth and normals of one image."""
    rng = np.random.default_rng(0)
    done = []
    for classes, goal in ((21, 8), (40, 12), (7, None)):
        pred, gt = rng.integers(0, classes, size), rng.integers(0, classes, size)
        gt[rng.random(size) < 0.1] = 255
        tensors = torch.from_numpy(pred), torch.from_numpy(gt)
        confusion, literal = confusion_matrix(pred, gt, classes), literal_segmentation(*tensors, classes)
        hit = np.diagonal(confusion)
        same = np.stack([hit, confusion[:, :classes].sum(0) - hit, confusion.sum(1) - hit])
        np.testing.assert_array_equal(same, literal)
        times = best_times(
            rounds,
            lambda t=tensors, c=classes: literal_segmentation(*t, c),
            lambda p=pred, g=gt, c=classes: confusion_matrix(p, g, c),
        )
        done.append(report(f'mIoU, {classes} classes', times, goal))

    pred, gt = rng.random(size, dtype=np.float32), (rng.random(size) < 0.3).astype(np.int64)
    gt[:9] = 255
    tensors = torch.from_numpy(pred), torch.from_numpy(gt)
    np.testing.assert_array_equal(threshold_counts(pred, gt), literal_saliency(*tensors))
    times = best_times(rounds, lambda: literal_saliency(*tensors), lambda: threshold_counts(pred, gt))
    done.append(report('saliency, 19 thresholds', times, 5))

    gt = rng.uniform(0.1, 9, (1, *size)).astype(np.float32)
    pred = (gt * rng.uniform(0.8, 1.2, gt.shape)).astype(np.float32)
    gt[:, :9] = np.nan
    depth_tensors = torch.from_numpy(pred), torch.from_numpy(gt)
    metric = DepthError()
    sums = metric.measure(pred, gt)['sums']
    np.testing.assert_allclose(sums[[1, 5, 2, 3, 0]], literal_depth(*depth_tensors), rtol=1e-4)
    times = best_times(rounds, lambda: literal_depth(*depth_tensors), lambda: metric.measure(pred, gt))
    done.append(report('depth', times, 4))

    gt = rng.standard_normal((3, *size)).astype(np.float32)
    pred = (gt + 0.3 * rng.standard_normal(gt.shape)).astype(np.float32)
    gt[:, :9] = np.nan
    normal_tensors = torch.from_numpy(pred), torch.from_numpy(gt)
    normals = NormalsError()
    np.testing.assert_allclose(normals.measure(pred, gt)['sums'][0], literal_normals(*normal_tensors)[0], rtol=1e-5)
    times = best_times(rounds, lambda: literal_normals(*normal_tensors), lambda: normals.measure(pred, gt))
    done.append(report('normals', times, None))
    return all(done)


def boundary_scene(height: int = 321, width: int = 481) -> tuple[np.ndarray, np.ndarray]:
    """(probability, label) with about 3,500 boundary pixels: shifted, blurred, of uneven strength, with clutter."""
    rng = np.random.default_rng(0)
    fields = [gaussian_filter(rng.standard_normal((height, width)), 27) for _ in range(5)]
    gt = literal_thin(segmentation_boundary(np.argmax(fields, 0)))
    strength = np.clip(gaussian_filter(rng.random((height, width)), 8) * 8 - 3.2, 0.2, 1)
    lines = gaussian_filter(np.roll(gt, (1, 2), (0, 1)).astype(float), 1.5)
    clutter = gaussian_filter(rng.standard_normal((height, width)), 2)
    return np.clip(6 * lines * strength + clutter, 0, 1).astype(np.float32), gt


def boundaries() -> bool:
    """All thresholds of one image, with and without non-maximum suppression."""
    probability, gt = boundary_scene()
    done = []
    for protocol in ('atrc', 'mti'):
        thresholds = [k / 100 for k in range(1, 100)]
        settings = protocol_settings(protocol, thresholds=thresholds)
        counts: list[np.ndarray] = [np.zeros(0), np.zeros(0)]

        def literal(settings: BoundarySettings = settings, counts: list[np.ndarray] = counts) -> None:
            counts[0] = literal_boundary(probability, gt, settings)

        def here(settings: BoundarySettings = settings, counts: list[np.ndarray] = counts) -> None:
            counts[1] = image_counts(probability, [gt], settings)[0]

        here()
        times = best_times(1, literal, here)
        if (counts[1] < counts[0]).any():
            raise AssertionError('a matching is smaller than the cost-optimal assignment')
        pixels = int(gt.sum())
        done.append(report(f'boundary, {protocol}, 99 thresholds, {pixels} pixels', times, 8))
    return all(done)


def noise_lines(sigma: float, seed: int, size: tuple[int, int] = (375, 500)) -> np.ndarray:
    """Boundaries of smoothed noise: the smaller ``sigma``, the more pixels."""
    return literal_thin(
        segmentation_boundary(gaussian_filter(np.random.default_rng(seed).standard_normal(size), sigma) > 0)
    )


def density(rounds: int) -> bool:
    """One matching of a dense map against one of an ordinary map."""
    maps = {sigma: (noise_lines(sigma, 1), noise_lines(sigma, 2)) for sigma in (13.0, 3.9)}
    times = best_times(rounds, *(lambda p=p, g=g: match_pixels(p, g, 0.0075) for p, g in maps.values()))
    counts = [' + '.join(str(int(m.sum())) for m in pair) for pair in maps.values()]
    ratio = times[1] / times[0]
    parts = [f'{count} pixels {spent:.1f} ms' for count, spent in zip(counts, times)]
    print(f'matching {", ".join(parts)}: {ratio:.1f} x   goal < 20')
    return ratio < 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--rounds', type=int, default=5, help='the smallest time of so many counts')
    parser.add_argument('--size', type=int, nargs=2, default=(512, 512), metavar=('H', 'W'))
    parser.add_argument('--skip-boundary', action='store_true', help='leave out what takes half a minute')
    args = parser.parse_args()
    torch.set_num_threads(1)
    reached = [pixel_metrics(tuple(args.size), args.rounds), density(args.rounds)]
    if not args.skip_boundary:
        reached.append(boundaries())
    print('every goal is reached' if all(reached) else 'a goal is missed')
    sys.exit(not all(reached))


if __name__ == '__main__':
    main()
