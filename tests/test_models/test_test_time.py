"""Views of an image are brought back by each task's own rule and averaged in the space it names."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from mmengine.model import BaseModule

from mmmtl.errors import ConfigError
from mmmtl.models import MultiTaskModel
from mmmtl.models.decoder import Decoder
from mmmtl.models.tta import TestTimeAugmentation, build_test_time
from mmmtl.registry import MODELS
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import build_tasks

TASKS = dict(
    semseg=dict(type='SemanticSegmentation', classes=5),
    human_parts=dict(type='HumanParts'),
    saliency=dict(type='Saliency'),
    normals=dict(type='SurfaceNormals'),
    boundary=dict(type='Boundary'),
    depth=dict(type='Depth'),
    optical_flow=dict(type='OpticalFlow'),
    scene_flow=dict(type='SceneFlow'),
    albedo=dict(type='Albedo'),
    shading=dict(type='Shading'),
)
ALL_FLIPS = ['none', 'horizontal', 'vertical', 'both']


@MODELS.register_module(force=True)
class Pixels(BaseModule):
    """The image itself as features."""

    out_channels, strides = [3], [1]

    def forward(self, x):
        return (x,)


@MODELS.register_module(force=True)
class SlopeDecoder(Decoder):
    """Equivariant by construction: scalars from a pixel's brightness, vectors from the slope of the brightness."""

    def loss(self, feats, targets, noise, size):
        return {}

    def predict(self, feats, noise, size):
        bright = feats[0].mean(1, keepdim=True)
        padded = F.pad(bright, (1, 1, 1, 1), mode='replicate')
        right = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
        down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
        # a flip negates the vertical component whether it points up or down; motion in pixels grows with the image
        raw = {}
        for name, task in self.tasks.items():
            if task.frames == 2 or (task.label_channels == 3 and name != 'albedo'):
                parts = [right * size[1], down * size[0], bright]
                raw[name] = torch.cat(parts[: task.label_channels], 1)
            else:
                wave = torch.arange(1, task.out_channels + 1, device=bright.device).reshape(-1, 1, 1)
                raw[name] = torch.sin(bright * wave * 9 + wave) * 3
        return raw


def model(tasks=TASKS, **options):
    built = MultiTaskModel(tasks, dict(type='Pixels'), dict(type='SlopeDecoder'), **options)
    return built.eval()


def image(size=(24, 40), frames=2, seed=0):
    coarse = torch.rand(2 * frames, 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(coarse, size, mode='bicubic').unflatten(0, (2, frames))
    return smooth if frames == 2 else smooth[:, 0]


def samples():
    return [MTLDataSample(metainfo=dict(sample_id=n, ori_shape=(30, 36), padding=(2, 2, 0, 4))) for n in 'ab']


def test_an_equivariant_network_gains_nothing_by_flips():
    plain = model().predict(image(), samples())
    views = model(tta=dict(flips=ALL_FLIPS)).predict(image(), samples())
    assert set(TASKS) == set(plain[0].pred.keys())
    for a, b in zip(plain, views):
        for name in TASKS:
            x, y = a.pred.get(name), b.pred.get(name)
            if x.is_floating_point():
                torch.testing.assert_close(y, x, atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f'{name}: {m}')
            else:  # an argmax flips only where two classes tie
                assert (x == y).float().mean() > 0.999, name
            assert x.std() > 0 if x.is_floating_point() else len(x.unique()) > 1  # the control: not a constant


@pytest.mark.parametrize('name', ['normals', 'optical_flow', 'scene_flow'])
@pytest.mark.parametrize('flip', ['horizontal', 'vertical'])
def test_without_the_sign_rule_vectors_would_cancel(name, flip):
    """The control: flipping a vector map like a picture gives something else."""
    tasks = build_tasks(TASKS)
    net = model()
    raw = net(image())[name]
    axis = -1 if flip == 'horizontal' else -2
    naive = torch.flip(net(torch.flip(image(), (axis,)))[name], (axis,))
    assert (naive - raw).abs().max() > 0.1
    torch.testing.assert_close(tasks[name].flip(torch.flip(naive, (axis,)), flip), raw, atol=1e-5, rtol=1e-4)


def test_motion_in_pixels_is_scaled_back():
    plain = model(dict(optical_flow=TASKS['optical_flow']))(image((64, 64)))['optical_flow']
    seen = []

    def moving(view):  # everything moves by a tenth of the width and a fifth of the height
        height, width = view.shape[-2:]
        seen.append((height, width))
        return {
            'optical_flow': torch.stack(
                [torch.full((2, height, width), 0.1 * width), torch.full((2, height, width), 0.2 * height)], 1
            )
        }

    tasks = build_tasks(dict(optical_flow=TASKS['optical_flow']))
    views = TestTimeAugmentation(['none'], [1.0, 0.5, 1.4])(moving, image((64, 64)), tasks)['optical_flow']
    assert seen == [(64, 64), (32, 32), (96, 96)] and views.shape == (3, *plain.shape)
    torch.testing.assert_close(views[:, :, 0], torch.full((3, 2, 64, 64), 6.4))
    torch.testing.assert_close(views[:, :, 1], torch.full((3, 2, 64, 64), 12.8))


def averaged(task, views):
    return task.from_average(torch.stack([task.to_average(view) for view in views]).mean(0))


def test_distances_are_scaled_back_where_training_scaled_them():
    tasks = build_tasks(dict(depth=TASKS['depth']))

    def metres(view):  # at twice the size things seem twice as near
        return {'depth': torch.full((1, 1, *view.shape[-2:]), 4 * 64 / view.shape[-1])}

    for zoom, expected in ((True, 4.0), (False, 3.0)):
        views = TestTimeAugmentation(['none'], [1.0, 2.0], zoom=zoom)(metres, image((64, 64), 1), tasks)['depth']
        torch.testing.assert_close(averaged(tasks['depth'], views), torch.full((1, 1, 64, 64), expected))


def test_distances_follow_the_size_that_a_view_really_has():
    """100 pixels enlarged 1.5 times are rounded to 160."""
    tasks = build_tasks(dict(depth=TASKS['depth']))
    views = TestTimeAugmentation(['none'], [1.0, 1.5], zoom=True)
    depth = views(
        lambda view: {'depth': torch.full((1, 1, *view.shape[-2:]), 4 * 100 / view.shape[-1])},
        image((100, 100), 1),
        tasks,
    )
    torch.testing.assert_close(depth['depth'], torch.full((2, 1, 1, 100, 100), 4.0))


def test_each_task_averages_in_its_own_space():
    tasks = build_tasks(TASKS)
    generator = torch.Generator().manual_seed(3)
    for name, task in tasks.items():
        views = torch.randn(3, 2, task.out_channels, 4, 5, generator=generator) * 4
        mean = task.predict(averaged(task, views))
        if name in ('semseg', 'human_parts'):
            expected = views.double().softmax(2).mean(0).argmax(1, keepdim=True)
        elif name == 'saliency':
            expected = views.double().softmax(2).mean(0)[:, 1:].float()
        elif name == 'boundary':
            expected = (1 / (1 + (-views.double()).exp())).mean(0).float()
        elif name == 'normals':
            expected = F.normalize((views / views.norm(dim=2, keepdim=True)).sum(0), dim=1)
        elif name == 'depth':
            expected = views.clamp_min(0).mean(0)
        elif name in ('albedo', 'shading'):
            expected = views.clamp(0, 1).mean(0)
        else:
            expected = views.mean(0)
        torch.testing.assert_close(mean, expected, atol=1e-5, rtol=1e-4, msg=lambda m, name=name: f'{name}: {m}')


def test_extreme_logits_stay_finite():
    tasks = build_tasks(TASKS)
    for name in ('semseg', 'saliency', 'boundary'):
        views = torch.full((2, 1, tasks[name].out_channels, 1, 1), -300.0)
        views[0, :, 0] = 300.0
        assert averaged(tasks[name], views).isfinite().all()
    edge = averaged(tasks['boundary'], torch.tensor([300.0, -300.0]).reshape(2, 1, 1, 1, 1)).sigmoid()
    assert math.isclose(edge.item(), 0.5)


def test_mistakes_are_told():
    with pytest.raises(ConfigError, match="'horizontl' is not one of .* Did you mean 'horizontal'"):
        build_test_time(dict(flips=['horizontl']))
    with pytest.raises(ConfigError, match="no option 'scale', .* Did you mean 'scales'"):
        build_test_time(dict(scale=[1.0]))
    with pytest.raises(ConfigError, match='tta.flips must be a list'):
        build_test_time(dict(flips='both'))
    with pytest.raises(ConfigError, match='tta.scales is empty'):
        build_test_time(dict(scales=[]))
    with pytest.raises(ConfigError, match='must be positive'):
        build_test_time(dict(scales=[0.0]))
