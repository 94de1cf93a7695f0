"""Labels as images for an autoencoder, held against formulas written out in numpy and against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmmtl.registry import TASKS
from mmmtl.tasks import Albedo, Boundary, Depth, OpticalFlow, Saliency, SceneFlow, SemanticSegmentation, SurfaceNormals
from mmmtl.tasks.picture_code import nearest_colour

NAN = float('nan')


def shipped():
    TASKS.import_from_location()
    for name, kind in sorted(TASKS.module_dict.items()):
        yield name, kind(**({'classes': 5} if name == 'SemanticSegmentation' else {}))


def random_label(task, size=(2, 12, 16), unknown=True, seed=0):
    """A label of ``task`` with an unknown corner."""
    rng = np.random.default_rng(seed)
    if task.categorical:
        label = torch.from_numpy(rng.integers(0, task.num_classes, size))
        if unknown:
            label[:, :3, :4] = 255
        return label
    low, high = task.value_range
    shape = (size[0], task.channels, *size[1:])
    values = rng.normal(size=shape) if not np.isfinite(high) else rng.uniform(low, high, shape)
    if low == 0 and not np.isfinite(high):
        values = np.abs(values) * 5 + 0.5
    if isinstance(task, SurfaceNormals):
        values /= np.linalg.norm(values, axis=1, keepdims=True)
    label = torch.from_numpy(values.astype(np.float32))
    if unknown:
        label[:, :, :3, :4] = NAN
    return label


@pytest.mark.parametrize(('name', 'task'), list(shipped()))
def test_image_is_finite_and_knows_what_is_valid(name, task):
    label = random_label(task)
    image, valid = task.to_image(label)
    assert image.shape == (2, 3, 12, 16) and image.dtype == torch.float32
    assert valid.shape == (2, 1, 12, 16) and valid.dtype == torch.bool
    assert torch.equal(valid[:, 0], task.valid(label))
    assert image.isfinite().all() and image.abs().max() <= 1 + 1e-6


@pytest.mark.parametrize(('name', 'task'), list(shipped()))
def test_way_there_and_back(name, task):
    """What comes back is the label: exactly, or up to a positive scale (and shift) per sample and channel."""
    label = random_label(task, unknown=False)
    back = task.from_image(task.to_image(label)[0])
    if task.categorical:
        assert torch.equal(back[:, 0].round().long(), label)
        assert back.is_floating_point() == (name in ('Boundary', 'Saliency'))
        return
    assert back.shape == label.shape
    for truth, value in zip(label.flatten(0, 1).flatten(1), back.flatten(0, 1).flatten(1)):
        if np.isfinite(task.value_range).all():
            torch.testing.assert_close(value, truth, atol=1e-6, rtol=0)
            continue
        inner = (value > value.min() + 1e-3) & (value < value.max() - 1e-3)  # away from what was clipped
        slope = np.polyfit(truth[inner].numpy(), value[inner].numpy(), 1)
        assert slope[0] > 0
        np.testing.assert_allclose(np.polyval(slope, truth[inner].numpy()), value[inner].numpy(), atol=1e-4)


@pytest.mark.parametrize(('name', 'task'), list(shipped()))
def test_label_without_a_valid_pixel(name, task):
    label = torch.from_numpy(np.stack([task.blank((8, 8))] * 2))
    image, valid = task.to_image(label)
    assert not valid.any() and image.isfinite().all()


def test_depth_runs_linearly_from_the_second_to_the_ninety_eighth_percentile():
    depth = random_label(Depth(), seed=3)
    depth[0, 0, 5, 5] = 0.0  # not a possible depth: no part of the quantiles
    image, _ = Depth().to_image(depth)
    for k in range(2):
        known = depth[k][torch.isfinite(depth[k]) & (depth[k] > 0)].double().numpy()
        low, high = np.quantile(known, [0.02, 0.98])
        expected = np.clip((depth[k, 0].numpy() - low) / (high - low) * 2 - 1, -1, 1)
        expected = np.where(np.isnan(expected), 1.0, expected)  # the unknown is far away
        for channel in range(3):
            np.testing.assert_allclose(image[k, channel].numpy(), expected, atol=2e-6)


def test_motion_is_divided_by_its_largest_component_per_channel():
    flow = random_label(OpticalFlow())
    image, _ = OpticalFlow().to_image(flow)
    u, v = (np.nan_to_num(flow[1, c].numpy() / np.nanmax(np.abs(flow[1, c].numpy()))) for c in (0, 1))
    np.testing.assert_allclose(image[1].numpy(), np.stack([u, v, u]), atol=1e-6)
    still = torch.zeros(1, 3, 4, 4)
    assert torch.equal(SceneFlow().to_image(still)[0], still)


def test_the_mean_of_channels_comes_before_the_clip():
    image = torch.tensor([3.0, -1.0, -1.0]).reshape(1, 3, 1, 1)
    assert Depth().from_image(image).item() == pytest.approx((1 / 3 + 1) / 2)
    assert Albedo().from_image(image).flatten().tolist() == [1.0, 0.0, 0.0]


def test_normals_come_back_with_unit_length_and_their_own_axes():
    label = random_label(SurfaceNormals())
    image, _ = SurfaceNormals(image_signs=(-1, 1, 1)).to_image(label)
    torch.testing.assert_close(image[:, 0, 5:], -label[:, 0, 5:])
    back = SurfaceNormals(image_signs=(-1, 1, 1)).from_image(image * 0.4)
    torch.testing.assert_close(back[:, :, 5:], label[:, :, 5:])
    assert torch.equal(SurfaceNormals().from_image(torch.zeros(1, 3, 2, 2)), torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match='image_signs'):
        SurfaceNormals(image_signs=(2, 1, 1))


def test_classes_are_the_nearest_colours():
    task = SemanticSegmentation(classes=3, palette=[(0, 0, 0), (255, 0, 0), (0, 255, 0)])
    image = torch.randn(2, 3, 5, 7)
    colours = np.array(task.palette) / 127.5 - 1
    pixels = image.clamp(-1, 1).permute(0, 2, 3, 1).double().numpy()
    expected = ((pixels[..., None, :] - colours) ** 2).sum(-1).argmin(-1)
    assert np.array_equal(task.from_image(image)[:, 0].numpy(), expected)
    assert torch.equal(nearest_colour(image, task.image_colours(image)).unique(), torch.arange(3))
    with pytest.raises(ValueError, match="'class 0', 'class 2'.*share the colour"):
        SemanticSegmentation(classes=3, palette=[(0, 0, 0), (255, 0, 0), (0, 0, 0)]).from_image(image)


@pytest.mark.parametrize('task', [Saliency(), Boundary()])
def test_two_classes_come_back_as_a_probability(task):
    first, second = (torch.tensor(c, dtype=torch.float32).reshape(1, 3, 1, 1) / 127.5 - 1 for c in task.palette)
    for share in (0.0, 0.25, 1.0):
        assert task.from_image(first + (second - first) * share).item() == pytest.approx(share, abs=1e-6)
    assert 0 <= task.from_image(torch.full((1, 3, 1, 1), 9.0)).item() <= 1


def test_a_label_of_many_channels_needs_its_own_picture():
    class Wide(Depth):
        channels = 5

    with pytest.raises(ValueError, match='at most three channels, the label has 5'):
        Wide().to_image(torch.rand(1, 5, 4, 4))
