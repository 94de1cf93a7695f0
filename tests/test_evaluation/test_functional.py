"""Figures of dense prediction against slow, literal computations and against recorded numbers of published code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, nnls

from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional import alignment, depth, flow, images, saliency, segmentation, vectors
from mmmtl.evaluation.metrics import DepthError, NormalsError


@pytest.fixture
def rng():
    return np.random.default_rng(3)


# ---- segmentation ----------------------------------------------------------------------------------------------------
def literal_iou(pred, gt, classes):
    """Per class, as the published meters count."""
    valid = gt != 255
    values = []
    for c in range(classes):
        hit = ((pred == c) & (gt == c) & valid).sum()
        wrong = ((pred == c) & (gt != c) & valid).sum()
        missed = ((pred != c) & (gt == c) & valid).sum()
        values.append(hit / max(hit + wrong + missed, 1e-8))
    return np.array(values)


@pytest.mark.parametrize('dtype', [np.int64, np.uint8, np.int32])
def test_iou_equals_the_literal_loop(rng, dtype):
    gt = rng.integers(0, 6, (40, 50)).astype(dtype)
    pred = rng.integers(0, 5, (40, 50)).astype(dtype)  # class 5 is never predicted, class 6 never occurs
    gt[:7] = 255
    confusion = segmentation.confusion_matrix(pred, gt, 7)
    literal = literal_iou(pred, gt, 7)
    np.testing.assert_array_equal(np.nan_to_num(segmentation.class_iou(confusion)), literal)
    assert segmentation.mean_iou(confusion, absent='zero') == literal.mean()
    assert segmentation.mean_iou(confusion) == literal[:6].mean()
    assert segmentation.pixel_accuracy(confusion) == (pred == gt)[gt != 255].mean()
    assert confusion.sum() == (gt != 255).sum()


def test_a_pixel_without_prediction_is_a_miss():
    confusion = segmentation.confusion_matrix(np.array([[0, 255, 1]]), np.array([[0, 1, 1]]), 2)
    assert confusion.tolist() == [[1, 0, 0], [0, 1, 1]]
    assert segmentation.class_iou(confusion).tolist() == [1.0, 0.5]
    assert segmentation.class_accuracy(confusion).tolist() == [1.0, 0.5]


@pytest.mark.parametrize(
    'pred, gt, text',
    [
        ([[0, 3]], [[0, 1]], r'prediction holds \[3\], expected 0..2'),
        ([[0, 1]], [[0, 9]], r'label holds \[9\]'),
        ([[0, 1]], [[0, -1]], 'label holds values from -1 to 0'),
        ([[0, 300]], [[0, 1]], 'prediction holds values from 0 to 300'),
        ([[0, 1]], [[0.0, 1.0]], 'label must be an integer map'),
        ([[0]], [[0, 1]], r'prediction has shape \(1, 1\), label \(1, 2\)'),
    ],
)
def test_wrong_class_maps_are_refused(pred, gt, text):
    with pytest.raises(ValueError, match=text):
        segmentation.confusion_matrix(np.array(pred), np.array(gt), 3)


def test_nothing_valid_is_nan():
    confusion = segmentation.confusion_matrix(np.zeros((2, 2), int), np.full((2, 2), 255), 3)
    assert math.isnan(segmentation.mean_iou(confusion)) and math.isnan(segmentation.pixel_accuracy(confusion))


# ---- saliency --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('double', [False, True])
def test_counts_equal_a_loop_over_thresholds(rng, double):
    probability = rng.random((30, 40), dtype=np.float32)
    probability[0, :19] = np.float32(saliency.THRESHOLDS)  # exactly on a threshold is positive
    probability[1, 0] = np.nan
    gt = rng.integers(0, 2, (30, 40))
    gt[5] = 255
    value = 1 / (1 + np.exp(-probability)) if double else probability
    counts = saliency.threshold_counts(probability, gt, double_sigmoid=double)
    for k, threshold in enumerate(saliency.THRESHOLDS):
        positive = value >= np.float32(threshold)
        wanted = [(positive & (gt == 1)).sum(), (positive & (gt == 0)).sum(), (~positive & (gt == 1)).sum()]
        assert counts[:, k].tolist() == wanted


def test_max_f_by_hand():
    # at the best threshold 3 of 4 salient pixels are found and 1 of the positives is wrong
    counts = np.array([[3, 4], [1, 6], [1, 0]])
    assert saliency.max_f(counts) == pytest.approx(max(1.3 * 0.75 * 0.75 / (0.3 * 0.75 + 0.75), 1.3 * 0.4 / (0.12 + 1)))
    assert saliency.max_f(np.zeros((3, 2))) == 0.0


def test_toolkit_curve_equals_a_loop_over_integer_thresholds(rng):
    value = saliency.stretch(rng.random((20, 30)) * 0.5 + 0.2)
    assert value.min() == 0 and value.max() == 1
    salient = rng.random((20, 30)) < value
    curve = saliency.toolkit_f_curve(value, salient)
    level = np.floor(value * 255)
    for k in range(256):
        positive = level >= 255 - k
        precision, recall = (
            (positive & salient).sum() / max(positive.sum(), 1),
            (positive & salient).sum() / salient.sum(),
        )
        wanted = 1.3 * precision * recall / (0.3 * precision + recall) if precision + recall else 0
        assert curve[k] == pytest.approx(wanted, abs=1e-15)


def test_adaptive_f_and_mae_by_hand():
    value, salient = np.array([0.0, 0.2, 0.4, 1.0]), np.array([False, True, False, True])
    # twice the mean is 0.8: one positive, and it is right
    assert saliency.adaptive_f(value, salient) == pytest.approx(1.3 * 0.5 / (0.3 + 0.5))
    assert saliency.mean_absolute_error(value, salient) == pytest.approx(1.2 / 4)
    assert saliency.adaptive_f(value, ~salient) == 0.0
    assert (saliency.stretch(np.full(3, 0.7)) == 0.7).all()


# ---- normals ---------------------------------------------------------------------------------------------------------
def test_angles_by_hand():
    gt = np.array([[0, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1.0]]).T
    pred = np.array([[0, 0, 5], [3, 0, 3], [0, 0, -1], [0, 0, 0.0]]).T
    np.testing.assert_allclose(vectors.angular_error(pred, gt), [0, 45, 180, 90], atol=1e-12)
    tiny = np.array([[1e-9, 0, 1.0]]).T  # an arc cosine would round this to zero
    assert vectors.angular_error(tiny, gt[:, :1])[0] == pytest.approx(np.degrees(1e-9), rel=1e-6)


def test_shares_of_small_angles_are_counted_one_by_one(rng):
    gt = rng.normal(size=(3, 400))
    pred = gt / np.linalg.norm(gt, axis=0) + rng.normal(0, 0.1, gt.shape)
    metric = NormalsError()
    found = metric.compute(metric.measure(pred[:, None], gt[:, None]))
    angles = []
    for p, g in zip(pred.T, gt.T):
        cosine = math.fsum(a * b for a, b in zip(p, g)) / math.hypot(*p) / math.hypot(*g)
        angles.append(math.degrees(math.acos(min(cosine, 1.0))))
    for name, limit in (
        ('within5', 5.0),
        ('within7', 7.5),
        ('within11', 11.25),
        ('within22', 22.5),
        ('within30', 30.0),
    ):
        assert found[name] == sum(angle < limit for angle in angles) / 400
        assert 0 < found['within5'] < found['within7'] < found['within11']
    assert set(found) == set(metric.reported)


def test_histogram_quantile_is_the_median_to_a_bin(rng):
    angle = rng.gamma(2.0, 9.0, 5001).clip(0, 180)
    counts = vectors.angle_histogram(angle)
    assert counts.sum() == 5001
    assert vectors.histogram_quantile(counts, 0.5, 0.01) == pytest.approx(np.median(angle), abs=0.01)
    assert vectors.angle_histogram(np.array([180.0, np.nan])).sum() == 1
    assert math.isnan(vectors.histogram_quantile(np.zeros(4, int), 0.5, 1.0))


# ---- depth -----------------------------------------------------------------------------------------------------------
def test_depth_figures_equal_their_formulas(rng):
    gt, pred = rng.uniform(0.5, 9, 500), rng.uniform(0.3, 9, 500)
    pred[0] = -1.0
    figures = depth.depth_metrics(depth.depth_sums(pred, gt))
    p = np.where(pred <= 0, 1e-9, pred)
    ratio = np.maximum(p / gt, gt / p)
    wanted = {
        'RMSE': np.sqrt(((p - gt) ** 2).mean()),
        'absErr': np.abs(p - gt).mean(),
        'relErr': (np.abs(p - gt) / gt).mean(),
        'sqRel': ((p - gt) ** 2 / gt).mean(),
        'logRMSE': np.sqrt(((np.log(p) - np.log(gt)) ** 2).mean()),
        'log10': np.abs(np.log10(p) - np.log10(gt)).mean(),
        'siLog': 100 * np.std(np.log(p) - np.log(gt)),
        'iRMSE': np.sqrt(((1 / p - 1 / gt) ** 2).mean()),
        **{f'delta{k}': (ratio < 1.25**k).mean() for k in (1, 2, 3)},
    }
    assert figures == pytest.approx(wanted, rel=1e-9)
    assert depth.depth_metrics(depth.depth_sums(pred[:0], gt[:0])) == {}


def test_depth_sums_pool(rng):
    gt, pred = rng.uniform(0.5, 9, 500), rng.uniform(0.3, 9, 500)
    parts = [depth.depth_sums(pred[s], gt[s]) for s in (slice(0, 100), slice(100, 500))]
    pooled = {key: parts[0][key] + parts[1][key] for key in parts[0]}
    assert depth.depth_metrics(pooled) == pytest.approx(depth.depth_metrics(depth.depth_sums(pred, gt)), rel=1e-12)


def searched(error, *start):
    """The place of the least of a smooth function of one or two numbers."""
    options = dict(xatol=1e-12, fatol=1e-18, maxiter=20_000, maxfev=20_000)
    return minimize(lambda x: error(*x), start, method='Nelder-Mead', options=options).x


@pytest.mark.parametrize('protocol', ['disparity', 'scale', 'median'])
def test_depth_after_alignment_by_a_search(rng, protocol):
    """The fits by their least-squares sums, minimised by a search; the errors of what they align by their formulas."""
    images = []
    for _ in range(2):
        gt = rng.uniform(1.0, 9.0, (1, 12, 15))
        pred = 3.0 / (1.5 / gt + 0.2 + rng.normal(0, 0.02, gt.shape))
        gt[0, :2], gt[0, 2, 0] = np.nan, 30.0  # unknown, too far
        images.append((pred, gt))
    metric = DepthError(0.0, 10.0, protocol=protocol)
    states = [metric.measure(p.astype(np.float32), g.astype(np.float32)) for p, g in images]
    found = metric.compute({k: states[0][k] + states[1][k] for k in states[0]})
    wanted = []
    for pred, gt in images:
        known = np.isfinite(gt) & (gt < 10.0)
        p, g = pred[known], gt[known]
        if protocol == 'scale':
            aligned = searched(lambda s, p=p, g=g: ((s * p - g) ** 2).sum(), 1.0)[0] * p
        elif protocol == 'median':
            middle = [sum(sorted(v)[(len(v) - 1) // 2 : len(v) // 2 + 1]) / (2 - len(v) % 2) for v in (g, p)]
            aligned = middle[0] / middle[1] * p
        else:
            s, t = searched(lambda s, t, p=p, g=g: ((s / p + t - 1 / g) ** 2).sum(), 1.0, 0.0)
            aligned = 1 / np.maximum(s / p + t, 1 / 10.0)
        aligned = aligned.clip(0, 10.0)
        ratio = np.maximum(aligned / g, g / aligned)
        wanted.append(((np.abs(aligned - g) / g).mean(), np.sqrt(((aligned - g) ** 2).mean()), (ratio < 1.25).mean()))
    for i, name in enumerate(('relErr', 'RMSE', 'delta1')):
        assert found[f'{name}_{protocol}'] == pytest.approx(np.mean([w[i] for w in wanted]), abs=1e-6)
    # what the alignment leaves open does not change the result
    other = [(1 / (2.5 / p + (0.3 if protocol == 'disparity' else 0.0)), g) for p, g in images]
    again = [metric.measure(p.astype(np.float32), g.astype(np.float32)) for p, g in other]
    result = metric.compute({k: again[0][k] + again[1][k] for k in again[0]})
    assert result == pytest.approx(found, rel=1e-4, abs=1e-5)


def test_alignment_in_disparity_has_a_largest_depth():
    with pytest.raises(ConfigError, match='needs a finite max_depth'):
        DepthError(protocol='disparity')
    metric = DepthError(0.0, 10.0, protocol='disparity')
    blind = metric.measure(np.full((1, 4, 4), -1.0, np.float32), np.full((1, 4, 4), 4.0, np.float32))
    assert metric.compute(blind)['absErr_disparity'] == pytest.approx(0.0, abs=1e-9), 'a constant fits a constant'


# ---- flow ------------------------------------------------------------------------------------------------------------
def test_flow_by_hand():
    gt = np.array([[100.0, 0.0], [10.0, 0.0], [0.0, 2.0]]).T
    pred = np.array([[104.0, 0.0], [10.0, 3.5], [0.0, -2.0]]).T
    figures = flow.flow_metrics(flow.flow_sums(pred, gt), 2)
    assert figures['EPE'] == pytest.approx((4 + 3.5 + 4) / 3)
    assert figures['Fl'] == pytest.approx(2 / 3)  # the first is off by more than 3 pixels but by less than 5 %
    assert figures['angle'] == pytest.approx((0 + math.degrees(math.atan2(3.5, 10)) + 180) / 3)


def test_scene_flow_thresholds():
    gt = np.array([[1.0, 0, 0]] * 4).T
    pred = gt + np.array([[0.04, 0, 0], [0.09, 0, 0], [0.2, 0, 0], [0.5, 0, 0]]).T
    figures = flow.flow_metrics(flow.flow_sums(pred, gt), 3)
    assert (figures['accStrict'], figures['accRelax'], figures['outliers']) == (0.25, 0.5, 0.25)
    assert flow.flow_metrics(flow.flow_sums(pred[:, :0], gt[:, :0]), 3) == {}


# ---- albedo and shading ----------------------------------------------------------------------------------------------
def test_image_errors_by_hand(rng):
    gt, valid = rng.random((3, 40, 56)), rng.random((40, 56)) < 0.8
    error = 0.1 * np.ones((3, 1, 1))
    assert images.image_rmse(gt + error, gt, valid) == pytest.approx(0.1 * math.sqrt(3))
    assert images.structural_similarity(gt, gt) == pytest.approx(1.0)
    similarity = pytest.importorskip('skimage.metrics').structural_similarity
    rng = np.random.default_rng(3)
    a, b = rng.random((2, 3, 21, 34), np.float32)
    theirs = float(np.mean([similarity(g, p, data_range=1.0) for p, g in zip(a, b)]))
    assert images.structural_similarity(a, b) == theirs
    with pytest.raises(ValueError, match='at least 7'):
        images.structural_similarity(a[:, :6], b[:, :6])
    with pytest.raises(ValueError, match='at least 16'):  # no window, and no error of 0
        images.local_mse(gt[:, :15], gt[:, :15], valid[:15])
    assert images.local_mse(0.5 * gt, gt, valid) == pytest.approx(0.0, abs=1e-15)  # every window finds its scale
    assert images.local_mse(np.zeros_like(gt), gt, valid) == pytest.approx(1.0)


# ---- alignment -------------------------------------------------------------------------------------------------------
def test_fits_equal_least_squares_solvers(rng):
    pred, gt = rng.standard_normal(300), rng.standard_normal(300)
    solution = np.linalg.lstsq(np.stack([pred, np.ones(300)], 1), gt, rcond=None)[0]
    np.testing.assert_allclose(alignment.fit_scale_shift(pred, gt), solution, rtol=1e-9)
    assert alignment.fit_scale(pred, gt) == pytest.approx(np.linalg.lstsq(pred[:, None], gt, rcond=None)[0][0])
    pair, truth = rng.standard_normal((2, 300)), rng.standard_normal((2, 300))
    truth[0] += 2 * pair[0]
    truth[1] -= pair[1]
    scales = alignment.fit_scales(pair, truth)
    np.testing.assert_allclose(scales, [nnls(p[:, None], t)[0][0] for p, t in zip(pair, truth)], rtol=1e-9)
    assert scales[1] == 0.0


def test_fits_of_constant_predictions_exist():
    assert alignment.fit_scale_shift(np.full(9, 0.1), np.arange(9.0)) == (0.0, 4.0)
    assert alignment.fit_scale(np.zeros(3), np.ones(3)) == 0.0
    with pytest.raises(ValueError, match='without a valid pixel'):
        alignment.fit_scale_shift(np.zeros(0), np.zeros(0))


# ---- numbers of published code ---------------------------------------------------------------------------------------
@pytest.fixture
def latent(shared_dir):
    return torch.load(shared_dir / 'golden' / 'stablemtl_codec_metrics.pt', weights_only=True)


def test_recorded_aligned_depth(latent):
    record = latent['depth_eval']
    pred, gt, valid = (record[k].numpy() for k in ('pred', 'gt', 'valid'))
    scale, shift = alignment.fit_scale_shift(pred[valid], gt[valid])
    assert (scale, shift) == pytest.approx((float(record['scale']), float(record['shift'])), rel=1e-6)
    aligned = np.clip(scale * pred[valid].astype(np.float64) + shift, 1e-5, 80)
    figures = depth.depth_metrics(depth.depth_sums(aligned, gt[valid]))
    names = {
        'relErr': 'abs_relative_difference',
        'sqRel': 'squared_relative_difference',
        'RMSE': 'rmse_linear',
        'logRMSE': 'rmse_log',
        'log10': 'log10',
        'delta1': 'delta1_acc',
        'delta2': 'delta2_acc',
        'delta3': 'delta3_acc',
        'iRMSE': 'i_rmse',
        'siLog': 'silog_rmse',
    }
    for ours, theirs in names.items():
        assert figures[ours] == pytest.approx(record['metrics'][theirs], rel=3e-7), ours


@pytest.mark.parametrize(
    'key, names',
    [
        ('flow_eval', {'EPE': 'EPE2d', 'Fl': 'Fl', 'angle': 'optical_flow_MAE'}),
        (
            'scene_flow_eval',
            {'EPE': 'EPE3d', 'accStrict': 'acc_strict', 'accRelax': 'acc_relax', 'outliers': 'outliers'},
        ),
    ],
)
def test_recorded_aligned_flow(latent, key, names):
    record = latent[key]
    valid = record['valid'][0, 0].numpy()
    pred, gt = record['pred'].numpy()[:, valid], record['gt'][0].numpy()[:, valid]
    scales = alignment.fit_scales(pred, gt)
    np.testing.assert_allclose(scales, record['scale'].numpy(), rtol=1e-12)
    figures = flow.flow_metrics(flow.flow_sums(scales[:, None] * pred, gt), len(pred))
    for ours, theirs in names.items():  # the angle is theirs in float32, whose arc cosine is good to 1e-5
        assert figures[ours] == pytest.approx(record['metrics'][theirs], rel=1e-5 if ours == 'angle' else 1e-7), ours


def test_recorded_normals_of_the_latent_model(latent):
    record = latent['normal_eval']
    valid = record['valid'][0, 0].numpy()
    angle = vectors.angular_error(record['pred'][0].numpy()[:, valid], record['gt'][0].numpy()[:, valid])
    assert angle.mean() == pytest.approx(record['mae'], rel=1e-6)


def test_recorded_semantics(latent):
    record = latent['semantic_eval']
    gt = np.where(record['valid'].numpy(), record['gt'].numpy(), 255)
    confusion = segmentation.confusion_matrix(record['pred'].numpy(), gt, 8)
    assert segmentation.mean_iou(confusion) == pytest.approx(record['metrics']['mIoU'], rel=1e-12)
    assert segmentation.pixel_accuracy(confusion) == pytest.approx(record['metrics']['Acc'], rel=1e-12)
    for c, value in enumerate(segmentation.class_iou(confusion)):
        assert value == pytest.approx(record['metrics'][f'cls_{c:02d}'], rel=1e-12)


@pytest.mark.parametrize('key', ['albedo_eval', 'shading_eval'])
def test_recorded_intrinsic_images(latent, key):
    record = latent[key]
    pred, gt, valid = record['pred'][0].numpy(), record['gt'][0].numpy(), record['valid'][0, 0].numpy() > 0
    scale = alignment.fit_scale(pred[:, valid], gt[:, valid])
    assert scale == pytest.approx(float(record['scale']), rel=1e-7)
    aligned = np.clip(scale * pred.astype(np.float64), 0, 1)
    figures = record['metrics']
    assert images.image_rmse(aligned, gt, valid) == pytest.approx(figures['rmse'], rel=1e-6)
    assert images.structural_similarity(aligned, gt) == pytest.approx(figures['ssim'], rel=1e-6)
    assert images.local_mse(aligned, gt, valid) == pytest.approx(figures['lmse'], rel=2e-6)
