"""Every shipped task keeps the contract: labels, geometry, loss, prediction, code and picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

import mmmtl.tasks as rooms
from mmmtl.errors import ConfigError, LabelError, UserError
from mmmtl.registry import TASKS
from mmmtl.tasks import IGNORE, CategoricalTask, ContinuousTask, Task, VectorTask, build_tasks

SHIPPED = {
    'semseg': dict(type='SemanticSegmentation', classes=5),
    'human_parts': dict(type='HumanParts'),
    'saliency': dict(type='Saliency'),
    'normals': dict(type='SurfaceNormals'),
    'boundary': dict(type='Boundary'),
    'depth': dict(type='Depth'),
    'optical_flow': dict(type='OpticalFlow'),
    'scene_flow': dict(type='SceneFlow'),
    'albedo': dict(type='Albedo'),
    'shading': dict(type='Shading'),
}
TEN = build_tasks(SHIPPED)


def label_of(task: Task, size=(18, 26), seed=0, unknown=0.2) -> np.ndarray:
    """A random label in the task's convention."""
    rng = np.random.default_rng(seed)
    hidden = rng.random(size) < unknown
    if isinstance(task, CategoricalTask):
        label = rng.integers(0, len(task.classes), size)
        label[hidden] = IGNORE
        return label
    label = rng.standard_normal((task.label_channels, *size)).astype(np.float32)
    low, high = task.value_range
    if np.isfinite(high) and task.label_channels == 3 and low < 0:
        label /= np.linalg.norm(label, axis=0)
    elif np.isfinite(low):
        label = np.abs(label).clip(0, high if np.isfinite(high) else None) + np.float32(0.01 if high > 1 else 0)
    label[:, hidden] = np.nan
    return label


@pytest.fixture(params=list(TEN))
def task(request) -> Task:
    return TEN[request.param]


def test_ten_tasks_are_shipped():
    concrete = [c for c in vars(rooms).values() if isinstance(c, type) and issubclass(c, Task) and c.default_name]
    assert len(concrete) == len(TEN) == 10
    for name, cfg in SHIPPED.items():
        assert TASKS.get(cfg['type']).default_name == name


def test_label_is_checked(task):
    label = label_of(task)
    task.check_label(label, 'x.png')
    task.check_label(task.blank((4, 5)), 'x.png')
    with pytest.raises(LabelError, match='x.png.*' + task.name):
        task.check_label(label[..., None, :, :, None], 'x.png')
    bad = label.copy()
    if task.categorical:
        bad[0, 0] = 77
    else:
        bad[:, 0, 0] = np.inf
    with pytest.raises(LabelError, match='x.png.*' + task.name):
        task.check_label(bad, 'x.png')


def test_valid_marks_exactly_the_known_pixels(task):
    label = label_of(task)
    expected = label != IGNORE if task.categorical else ~np.isnan(label[0])
    np.testing.assert_array_equal(task.valid(label), expected)
    np.testing.assert_array_equal(task.valid(torch.from_numpy(label)).numpy(), expected)
    assert not task.valid(task.blank((3, 4))).any()


@pytest.mark.parametrize('direction', ['horizontal', 'vertical'])
def test_flip_twice_is_identity_and_torch_agrees(task, direction):
    label = label_of(task)
    once = task.flip(label, direction)
    np.testing.assert_array_equal(task.flip(once, direction), label)
    np.testing.assert_array_equal(task.flip(torch.from_numpy(label), direction).numpy(), once)
    if isinstance(task, VectorTask):
        axis = 0 if direction == 'horizontal' else 1
        np.testing.assert_array_equal(once[axis], -np.flip(label[axis], -1 if direction == 'horizontal' else -2))


def test_resize_picks_the_pixels_of_cv2(task):
    label = label_of(task, (37, 53))
    size = (64, 41)
    planes = label[None] if label.ndim == 2 else label
    scale = [53, 37] if task.frames == 2 and task.label_channels == 2 else None
    for i, plane in enumerate(planes):
        expected = cv2.resize(plane.astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST)
        if scale:
            expected = expected * np.float32(size[1 - i] / scale[i])
        got = task.resize(label, size)
        np.testing.assert_allclose((got[None] if got.ndim == 2 else got)[i], expected, rtol=1e-6)


def test_invalid_never_becomes_valid(task):
    label = label_of(task, unknown=0.5)
    hidden = ~task.valid(label)
    marker = task.resize(np.where(hidden, 1, 0), (31, 17)) if task.label_channels != 2 else None
    if marker is not None:
        np.testing.assert_array_equal(~task.valid(task.resize(label, (31, 17))), marker.astype(bool))
    np.testing.assert_array_equal(~task.valid(task.zoom(label, 1.7)), hidden)
    padded = task.pad(label, 1, 2, 3, 4)
    assert padded.shape[-2:] == (18 + 7, 26 + 3)
    assert not task.valid(padded)[:3].any() and not task.valid(padded)[:, -2:].any()
    np.testing.assert_array_equal(task.valid(padded)[3:-4, 1:-2], ~hidden)


def test_depth_and_motion_follow_the_zoom():
    np.testing.assert_allclose(TEN['depth'].zoom(np.full((1, 2, 2), 6, np.float32), 1.5), 4)
    np.testing.assert_allclose(TEN['scene_flow'].zoom(np.full((3, 2, 2), 3, np.float32), 1.5), 2)
    np.testing.assert_allclose(TEN['optical_flow'].resize(np.ones((2, 4, 4), np.float32), (8, 12))[:, 0, 0], [3, 2])


def test_parts_without_people_are_unknown():
    parts = TEN['human_parts']
    empty = np.zeros((4, 4), np.int64)
    assert (parts.finish(empty) == IGNORE).all()
    somebody = empty.copy()
    somebody[0, 0] = 3
    np.testing.assert_array_equal(parts.finish(somebody), somebody)
    keeps = build_tasks({'human_parts': dict(type='HumanParts', ignore_empty=False)})['human_parts']
    np.testing.assert_array_equal(keeps.finish(empty), empty)


def test_loss_is_finite_differentiable_and_blind_to_unknown_pixels(task):
    torch.manual_seed(0)
    label = torch.from_numpy(np.stack([label_of(task, seed=s) for s in range(2)]))
    logits = torch.randn(2, task.out_channels, 18, 26, requires_grad=True)
    loss = task.loss(logits, label)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(logits.grad).all()
    known = task.valid(label)
    assert (logits.grad.abs().sum(1)[~known] == 0).all()
    assert (logits.grad.abs().sum(1)[known] > 0).float().mean() > 0.9
    each = task.loss(logits.detach(), label, per_sample=True)
    singles = torch.stack([task.loss(logits.detach()[i : i + 1], label[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(each, singles)


def test_loss_without_a_known_pixel_is_zero(task):
    label = torch.from_numpy(task.blank((6, 6))[None])
    logits = torch.randn(1, task.out_channels, 6, 6, requires_grad=True)
    loss = task.loss(logits, label)
    loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_prediction_has_the_declared_form(task):
    torch.manual_seed(1)
    prediction = task.predict(torch.randn(2, task.out_channels, 5, 7) * 3)
    assert prediction.shape[0] == 2 and prediction.shape[-2:] == (5, 7)
    if prediction.dtype == torch.int64:
        assert prediction.shape[1] == 1 and prediction.max() < task.num_classes
    else:
        assert prediction.shape[1] == task.label_channels
        assert torch.isfinite(prediction).all()
    if task.primary_metric == 'mErr':
        torch.testing.assert_close(prediction.norm(dim=1), torch.ones(2, 5, 7))


def test_code_of_label_and_logits_have_one_form(task):
    label = torch.from_numpy(np.stack([label_of(task, (32, 48), seed=s) for s in range(2)]))
    code, share = task.code_label(label, (2, 3))
    predicted = task.code_logits(torch.randn(2, task.out_channels, 2, 3))
    assert code.shape == predicted.shape
    if task.code_classes:
        assert share is None and code.dtype == torch.int64
        assert code.max() <= task.code_classes and predicted.max() < task.code_classes
        unknown, _ = task.code_label(torch.from_numpy(task.blank((32, 48))[None]), (2, 3))
        assert (unknown == task.code_classes).all()
    else:
        assert code.shape == (2, task.code_channels, 2, 3) and share.shape == (2, 1, 2, 3)
        assert torch.isfinite(code).all() and 0 <= share.min() and share.max() <= 1


def test_picture_and_legend(task):
    label = label_of(task, seed=3)
    picture = task.colorize(label)
    assert picture.dtype == np.uint8 and picture.shape == (18, 26, 3)
    assert picture.std() > 5
    prediction = task.predict(torch.randn(1, task.out_channels, 18, 26))[0].numpy()
    assert task.colorize(prediction, reference=label).shape == (18, 26, 3)
    legend = task.legend(label)
    assert legend.entries or legend.unit
    if legend.ramp is not None:
        assert legend.low < legend.high


def test_metrics_are_configs(task):
    assert all('type' in m for m in task.metrics)
    own = type(task)(classes=5, metric=dict(type='X')) if task.name == 'semseg' else type(task)(metric=dict(type='X'))
    assert own.metrics == [dict(type='X')] and (task.name == 'semseg' or type(task)(metric=[]).metrics == [])


def test_build_errors_name_place_and_near_names():
    with pytest.raises(ConfigError, match="'SurfaceNormals'"):
        build_tasks({'n': dict(type='SurfaceNormal')})
    with pytest.raises(ConfigError, match="unknown argument 'los_weight'.*'loss_weight'"):
        build_tasks({'depth': dict(type='Depth', los_weight=2)})
    with pytest.raises(ValueError, match='empty'):
        build_tasks({})
    with pytest.raises(ValueError, match='palette'):
        build_tasks({'s': dict(type='SemanticSegmentation', classes=3, palette=[[0, 0, 0]])})
    with pytest.raises(ValueError, match='classes'):
        build_tasks({'s': dict(type='SemanticSegmentation')})


def test_continuous_label_outside_its_range_is_named():
    with pytest.raises(LabelError, match=r'depth.*\[-3'):
        TEN['depth'].check_label(np.full((1, 2, 2), -3, np.float32), 'd.npy')
    with pytest.raises(LabelError, match='unit vectors'):
        TEN['normals'].check_label(np.full((3, 2, 2), 0.1, np.float32), 'n.png')
    half = np.ones((3, 2, 2), np.float32) / np.sqrt(3, dtype=np.float32)
    half[0, 0, 0] = np.nan
    with pytest.raises(LabelError, match='all channels'):
        TEN['normals'].check_label(half, 'n.png')


def test_every_continuous_task_declares_channels():
    for task in TEN.values():
        if isinstance(task, ContinuousTask):
            assert task.out_channels == task.channels == task.label_channels


def test_a_class_may_say_its_own_channels():
    class Quantiles(ContinuousTask):
        default_name, out_channels = 'quantiles', 3

        def default_metric(self):
            return dict(type='DepthError')

    task = Quantiles()
    assert (task.out_channels, task.label_channels, task.code_channels) == (3, 1, 1)


@pytest.mark.parametrize(
    'kind, options, words',
    [
        ('SemanticSegmentation', dict(classes=1), 'classes must be 2 to 255.*got 1'),
        ('SemanticSegmentation', dict(classes=300), 'classes must be 2 to 255.*got 300'),
        ('SemanticSegmentation', dict(), 'give classes'),
        ('HumanParts', dict(classes=1), 'classes must be 2 to 255.*got 1'),
        ('Saliency', dict(code_threshold=85), 'code_threshold must lie between 0 and 1, got 85'),
        ('Depth', dict(loss_weight=-1), 'loss_weight must be a number of at least 0, got -1'),
    ],
)
def test_mistakes_are_a_persons_to_mend(kind, options, words):
    with pytest.raises(UserError, match=words):
        TASKS.build(dict(type=kind, name='x', **options))
