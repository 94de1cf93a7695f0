"""Transforms: geometry per task, the published draws replayed bit for bit, and what they refuse."""

from __future__ import annotations

import copy
import random

import cv2
import numpy as np
import pytest
import torch

from mmmtl.datasets.transforms import (
    CentredPad,
    PackMTLInputs,
    PhotoMetricDistortion,
    RandomCrop,
    RandomFlip,
    RandomImageOps,
    RandomScale,
    RandomVerticalFlip,
    ResampleNearest,
    Resize,
)
from mmmtl.datasets.transforms.geometry import crop_results
from mmmtl.errors import ConfigError


def run(results, *steps):
    for step in steps:
        results = step(results)
    return results


def smooth_noise(size, seed):
    noise = np.random.default_rng(seed).random((size[0] // 12 + 2, size[1] // 12 + 2, 3)).astype(np.float32)
    return cv2.resize(noise, (size[1], size[0]), interpolation=cv2.INTER_CUBIC).clip(0, 1) * 255


# ---- properties ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('seed', range(3))
def test_flipping_twice_changes_nothing_and_once_changes_every_label(make_results, seed):
    before = make_results(seed=seed)
    after = run(copy.deepcopy(before), RandomFlip(1.0))
    assert after['flip']
    for name, label in before['gt'].items():
        assert not np.array_equal(label, after['gt'][name], equal_nan=True), name
    run(after, RandomFlip(1.0))
    assert not after['flip']
    np.testing.assert_array_equal(before['img'], after['img'])
    np.testing.assert_array_equal(before['img_next'], after['img_next'])
    for name, label in before['gt'].items():
        np.testing.assert_array_equal(label, after['gt'][name], err_msg=name)


def test_flip_negates_the_horizontal_component_alone(make_results):
    before = make_results()
    after = run(copy.deepcopy(before), RandomFlip(1.0))
    for name in ('normals', 'optical_flow', 'scene_flow'):
        mirrored = before['gt'][name][..., ::-1].copy()
        mirrored[0] *= -1
        np.testing.assert_array_equal(after['gt'][name], mirrored, err_msg=name)
    for name in ('depth', 'albedo', 'shading'):
        np.testing.assert_array_equal(after['gt'][name], before['gt'][name][..., ::-1], err_msg=name)


@pytest.mark.parametrize('seed', range(6))
def test_normals_stay_unit_and_unknown_never_becomes_known(make_results, seed):
    """Known pixels are tracked apart: cv2's nearest resize of the mask itself, cropped and padded like an image."""
    results = make_results(seed=seed, pair=False)
    masks = {n: (~np.isnan(g).any(0) if g.ndim == 3 else g != 255).astype(np.uint8) for n, g in results['gt'].items()}
    state = random.Random(seed)
    steps = (RandomScale((0.5, 2.0)), RandomCrop((36, 44), 'semseg'), RandomFlip(0.5), CentredPad((36, 44)))
    run(results, *steps)
    # the same draws once more, on the masks
    again = make_results(seed=seed, pair=False)
    leaked = {'semseg': again['gt']['semseg']}
    shadow = dict(again, rng=state, img=np.zeros((40, 50, 3), np.uint8), gt={}, leaked=leaked)
    run(shadow, steps[0])
    height, width = shadow['img'].shape[:2]
    small = {n: cv2.resize(m, (width, height), interpolation=cv2.INTER_NEAREST) for n, m in masks.items()}
    stack = np.stack([*small.values()], -1).astype(np.float32)
    planes = []
    for k in range(0, stack.shape[-1], 3):
        part = stack[..., k : k + 3]
        part = np.pad(part, ((0, 0), (0, 0), (0, 3 - part.shape[-1])))
        once = dict(shadow, img=part, rng=copy.deepcopy(shadow['rng']), leaked=dict(shadow['leaked']), padding=(0,) * 4)
        planes.append(run(once, *steps[1:])['img'])
    known = np.concatenate(planes, -1)
    for k, name in enumerate(small):
        valid = results['tasks'][name].valid(results['gt'][name])
        np.testing.assert_array_equal(valid, known[..., k] > 0, err_msg=name)
    length = np.linalg.norm(results['gt']['normals'], axis=0)
    np.testing.assert_allclose(length[np.isfinite(length)], 1, atol=1e-6)


@pytest.mark.parametrize('size', [(90, 64), (45, 120), (61, 77)])
def test_flow_after_resize_is_the_flow_of_the_resized_frames(make_results, size):
    """Frame 2 is frame 1 moved by a known vector: following the resized flow into frame 2 must give frame 1 again."""
    height, width, move = 96, 112, (8, -6)  # right, down
    big = smooth_noise((height + 40, width + 40), 3)
    results = make_results((height, width), names=('optical_flow',))
    results['img'] = big[20 : 20 + height, 20 : 20 + width]
    results['img_next'] = big[20 - move[1] : 20 - move[1] + height, 20 - move[0] : 20 - move[0] + width]
    results['gt']['optical_flow'] = np.broadcast_to(np.float32(move)[:, None, None], (2, height, width)).copy()
    run(results, Resize(size), RandomFlip(1.0))
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)

    def mismatch(flow):
        seen = cv2.remap(results['img_next'], columns + flow[0], rows + flow[1], cv2.INTER_LINEAR)
        return np.abs(seen - results['img'])[14:-14, 14:-14].mean()

    flow = results['gt']['optical_flow']
    assert mismatch(flow) < 2
    assert mismatch(flow * 0) > 10 and mismatch(np.broadcast_to(np.float32(move)[:, None, None], flow.shape)) > 6
    assert results['scale_factor'] == pytest.approx((size[1] / width, size[0] / height))


def test_random_scale_moves_the_camera(make_results):
    before = make_results(names=('depth', 'scene_flow', 'optical_flow', 'semseg'))
    for name in ('depth', 'scene_flow', 'optical_flow'):
        before['gt'][name][:] = 2.0
    after = run(copy.deepcopy(before), RandomScale((1.6, 1.6)))
    assert after['img'].shape == after['img_next'].shape == (64, 80, 3)
    assert np.allclose(after['gt']['depth'], 2 / 1.6) and np.allclose(after['gt']['scene_flow'], 2 / 1.6)
    assert np.allclose(after['gt']['optical_flow'], 2 * 1.6)
    assert after['img_shape'] == (64, 80)


# ---- random crop ---------------------------------------------------------------------------------------------------
class Counting(random.Random):
    drawn = 0

    def randint(self, a, b):
        self.drawn += 1
        return super().randint(a, b)


def test_crop_is_redrawn_by_a_visible_label_only(make_results):
    results = make_results(names=('semseg', 'depth'))
    results['gt']['semseg'][:] = 3  # one class everywhere: never accepted
    results['rng'] = Counting(1)
    hidden = dict(results, gt={'depth': results['gt']['depth']}, rng=Counting(1))
    crop = RandomCrop((16, 16), 'semseg')
    run(results, crop)
    assert results['rng'].drawn == 2 * 11  # the first box and ten redraws
    run(hidden, crop)
    assert hidden['rng'].drawn == 2
    leaky = make_results(names=('semseg', 'depth'))
    leaky['leaked'] = {'semseg': np.full((40, 50), 3)}
    leaky['gt'] = {}
    leaky['rng'] = Counting(1)
    run(leaky, crop)
    assert leaky['rng'].drawn == 22 and leaky['gt'] == {}


def test_crop_accepts_by_share_of_known_pixels(make_results):
    crop = RandomCrop((10, 10), 'semseg', max_ratio=0.75)
    label = np.full((10, 10), 255)
    label[:4] = 1
    assert not crop._mixed(label)  # one class
    label[4] = 2
    assert not crop._mixed(label)  # 40 of 50
    label[5] = 2
    assert crop._mixed(label)  # 40 of 60
    assert not crop._mixed(np.full((10, 10), 255))


def test_crop_of_a_small_image_keeps_it(make_results):
    results = run(make_results((20, 60)), RandomCrop((32, 32)))
    assert results['img'].shape == (20, 32, 3) and results['gt']['depth'].shape == (1, 20, 32)


def test_crop_names_a_wrong_category_task(make_results):
    with pytest.raises(ConfigError, match="category_task = 'semsegg'.*Did you mean 'semseg'"):
        run(make_results(), RandomCrop((8, 8), 'semsegg'))
    with pytest.raises(ConfigError, match='not a categorical task'):
        run(make_results(), RandomCrop((8, 8), 'depth'))


# ---- photometric ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('seed', range(8))
def test_distortion_without_tables(seed):
    """The lookup tables give what plain arithmetic gives, and consume the same draws."""
    rng = random.Random(seed)
    image = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    results = dict(img=image, rng=rng)
    PhotoMetricDistortion()(results)
    draw = random.Random(seed)

    def scaled(x, alpha=1.0, beta=0.0):
        return np.clip(x.astype(np.float32) * alpha + beta, 0, 255).astype(np.uint8)

    out = image
    if draw.random() < 0.5:
        out = scaled(out, beta=draw.uniform(-32, 32))
    first = draw.random() < 0.5
    if first and draw.random() < 0.5:
        out = scaled(out, alpha=draw.uniform(0.5, 1.5))
    if draw.random() < 0.5:
        hsv = cv2.cvtColor(out, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = scaled(hsv[..., 1], alpha=draw.uniform(0.5, 1.5))
        out = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if draw.random() < 0.5:
        hsv = cv2.cvtColor(out, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + draw.randint(-18, 17)) % 180
        out = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if not first and draw.random() < 0.5:
        out = scaled(out, alpha=draw.uniform(0.5, 1.5))
    np.testing.assert_array_equal(results['img'], out)
    assert draw.random() == rng.random()


def test_both_frames_are_distorted_alike(make_results):
    results = make_results(names=('depth',))
    results['img_next'] = results['img'].copy()
    run(results, PhotoMetricDistortion())
    np.testing.assert_array_equal(results['img'], results['img_next'])


# ---- resize, pad, pack ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    'options, size, expected',
    [
        (dict(size=(64, 64)), (40, 50), (64, 64)),
        (dict(size=(64, 64), keep_ratio=True), (40, 50), (51, 64)),
        (dict(size=(64, 64), keep_ratio=True, shrink_only=True), (40, 50), (40, 50)),
        (dict(size=(64, 64), keep_ratio=True, multiple=16), (40, 50), (48, 64)),
        (dict(multiple=32), (40, 50), (32, 64)),
        (dict(multiple=32), (5, 5), (32, 32)),
    ],
)
def test_resize_targets(make_results, options, size, expected):
    results = run(make_results(size), Resize(**options))
    assert results['img'].shape[:2] == results['img_shape'] == expected
    assert {g.shape[-2:] for g in results['gt'].values()} == {expected}


def test_what_a_cubic_resize_overshoots_does_not_wrap_around(make_results):
    results = make_results((8, 8), names=('depth',), pair=False)
    results['img'] = np.zeros((8, 8, 3), np.float32)
    results['img'][:, 4:] = 255
    results = run(results, Resize((16, 16), interpolation='cubic'), PhotoMetricDistortion(0, (1, 1), (1, 1), 1))
    row = results['img'][0, :, 0].astype(int)
    assert (np.diff(row) >= 0).all() and row[0] == 0 and row[-1] == 255


def test_in_test_mode_labels_keep_the_original_size(make_results):
    results = make_results((40, 50))
    results['test_mode'] = True
    packed = run(results, Resize((45, 60)), CentredPad((48, 65)), PackMTLInputs())
    assert packed['inputs'].shape == (2, 3, 48, 65)
    sample = packed['data_samples']
    assert sample.gt.shape == (40, 50)
    assert sample.metainfo['padding'] == (2, 3, 1, 2) and sample.metainfo['img_shape'] == (48, 65)
    assert sample.metainfo['scale_factor'] == pytest.approx((60 / 50, 45 / 40))


@pytest.mark.parametrize('step', [ResampleNearest((8, 10)), RandomCrop((8, 10))])
def test_labels_that_do_not_lie_on_their_image_are_not_cut(make_results, step):
    results = make_results((40, 50), names=('semseg', 'depth'))
    results['test_mode'] = True
    with pytest.raises(ConfigError, match="the label 'semseg' has 40x50 pixels .* its image 20x25"):
        run(results, Resize((20, 25)), step)


def test_pad_is_centred_and_unknown(make_results):
    results = run(make_results((40, 50)), CentredPad((43, 64)))
    assert results['padding'] == (7, 7, 1, 2)
    assert (
        (results['img'][0] == 0).all() and (results['img'][:, :7] == 0).all() and (results['img'][1, 7:57] != 0).any()
    )
    assert np.isnan(results['gt']['depth'][:, 0]).all() and (results['gt']['semseg'][:, -7:] == 255).all()


def test_padding_is_where_the_sample_says_after_flips_and_crops(make_results):
    """The frame of an image that is mirrored or cut after padding: black in the image, and named in ``padding``."""
    results = make_results((40, 50), names=('depth',), known=1.0)
    results['img'] = np.full_like(results['img'], 9)
    results = run(results, CentredPad((43, 65)), RandomFlip(1.0), RandomVerticalFlip(1.0))
    results = crop_results(results, 1, 3, 41, 60)
    left, right, top, bottom = results['padding']
    black = (results['img'] == 0).all(-1)
    expected = np.ones_like(black)
    expected[top : 41 - bottom, left : 60 - right] = False
    np.testing.assert_array_equal(black, expected)
    np.testing.assert_array_equal(np.isnan(results['gt']['depth'][0]), expected)


def test_pad_refuses_a_larger_image(make_results):
    with pytest.raises(ValueError, match=r"40x50 of sample 'made 0' is larger than size=32x64.*Resize"):
        run(make_results((40, 50)), CentredPad((32, 64)))
    results = run(make_results((40, 50)), CentredPad((32, 64), multiple=32))
    assert results['img_shape'] == (64, 64)


@pytest.mark.parametrize(
    'make, text',
    [
        (lambda: Resize(), 'give size'),
        (lambda: Resize((4, 4), interpolation='linaer'), "Did you mean 'linear'"),
        (lambda: CentredPad(), 'give size'),
        (lambda: RandomScale((2, 1)), 'low, high'),
        (lambda: RandomFlip(1.5), 'prob'),
        (lambda: RandomCrop((0, 4)), 'height, width'),
    ],
)
def test_wrong_arguments(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_pack_has_fields_for_labelled_tasks_only(make_results):
    results = make_results(names=('semseg', 'depth', 'human_parts'))
    del results['gt']['semseg']
    results['gt']['human_parts'] = np.where(results['gt']['human_parts'] == 255, 255, 0)
    sample = run(results, PackMTLInputs())['data_samples']
    assert set(sample.gt.keys()) == {'depth', 'human_parts'} == set(sample.metainfo['labeled_tasks'])
    assert sample.gt.human_parts.dtype == torch.int64 and sample.gt.human_parts.shape == (1, 40, 50)
    assert (sample.gt.human_parts == 255).all()  # nobody in the picture: nothing to learn about parts
    assert sample.gt.depth.dtype == torch.float32


def test_operations_in_a_pipeline(make_results):
    results = make_results((24, 32), pair=True)
    results['img_next'] = results['img'].copy()
    before = results['img'].copy()
    state = torch.get_rng_state()
    RandomImageOps(4).transform(results)
    assert torch.equal(torch.get_rng_state(), state)  # a sample's numbers are its own
    assert results['img'].shape == before.shape and 0 <= results['img'].min() and results['img'].max() <= 255
    np.testing.assert_array_equal(results['img'], results['img_next'])
    with pytest.raises(ConfigError, match='at least 1, got 0'):
        RandomImageOps(0)
