"""Diorama's images and labels, held against each other and against slow second derivations."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from mmmtl.datasets.diorama.light import _cones, _lamp_share, _spheres
from mmmtl.datasets.diorama.render import CLASSES, PARTS, RENDERER_VERSION, render, tone_map
from mmmtl.datasets.diorama.scene import SURFACES, describe
from mmmtl.datasets.diorama.trace import local_from_world, trace

SIZE = (96, 96)
SCENES = (0, 3, 7, 11, 42)
FIGURE = CLASSES.index('figure')


@pytest.fixture(scope='module', params=SCENES)
def pair(request):
    return render(5, request.param, SIZE, frames=2)


def points(depth: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Back-projected points (3, H, W), float64, in camera axes."""
    height, width = depth.shape[-2:]
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.einsum('ij,jhw->ihw', np.linalg.inv(intrinsics), np.stack((u, v, np.ones_like(u))))
    return rays * depth.astype(np.float64)


def same_around(image: np.ndarray) -> np.ndarray:
    """Inner pixels (H, W) whose eight neighbours have the same value in all channels of (C, H, W)."""
    same = np.zeros(image.shape[1:], bool)
    middle = image[:, 1:-1, 1:-1]
    height, width = image.shape[1:]
    around = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    shifted = [image[:, 1 + i : height - 1 + i, 1 + j : width - 1 + j] for i, j in around]
    same[1:-1, 1:-1] = np.all([(s == middle).all(axis=0) for s in shifted], axis=0)
    return same


def digest(result: dict) -> str:
    return hashlib.sha256(b''.join(np.ascontiguousarray(result[k]).tobytes() for k in sorted(result))).hexdigest()


# ---- one world ---------------------------------------------------------------------------------------------
def test_the_same_bits_in_every_process_and_order():
    program = (
        'import json, sys; sys.path.insert(0, sys.argv[1]); import numpy as np, hashlib\n'
        'from mmmtl.datasets.diorama.render import render\n'
        'def digest(r):\n'
        '    return hashlib.sha256(b"".join(np.ascontiguousarray(r[k]).tobytes() for k in sorted(r))).hexdigest()\n'
        'print(json.dumps({i: digest(render(5, i, (40, 56), 2)) for i in (9, 2, 5)}))\n'
    )
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    environment = dict(os.environ, PYTHONHASHSEED='1234', OMP_NUM_THREADS='2')
    command = [sys.executable, '-c', program, root]
    out = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    there = json.loads(out.stdout)
    here = {str(i): digest(render(5, i, (40, 56), 2)) for i in (2, 5, 9)}
    assert there == here and len(set(here.values())) == 3


@pytest.mark.parametrize('index, image, depth', ((0, 172.08, 2.9256), (1, 158.44, 3.5381), (2, 167.14, 3.1119)))
def test_version_one_of_the_renderer_draws_these(index, image, depth):
    """Whoever changes what is drawn raises RENDERER_VERSION (stored scenes depend on it), then these numbers."""
    assert RENDERER_VERSION == 1
    made = render(0, index, (32, 32))
    assert made['img'].mean() == pytest.approx(image, abs=0.05)
    assert made['depth'].mean() == pytest.approx(depth, abs=5e-4)


def test_one_frame_is_the_first_of_two():
    one, two = render(1, 8, (33, 47)), render(1, 8, (33, 47), frames=2)
    assert 'img_next' not in one
    for name, value in one.items():
        np.testing.assert_array_equal(value, two[name], err_msg=name)
    assert np.abs(two['img_next'].astype(int) - two['img']).mean() > 0.5


def test_seed_and_index_name_different_scenes():
    images = [render(s, i, (16, 16))['img'] for s, i in ((0, 1), (1, 0), (0, 0), (1, 1))]
    assert len({im.tobytes() for im in images}) == 4


@pytest.mark.parametrize('index', (4, 19))
def test_size_changes_the_grid_not_the_scene(index):
    """Pixel centres of a picture lie on those of one three times as large: the labels there are the same."""
    small, large = render(2, index, (48, 40), 2), render(2, index, (144, 120), 2)
    for name in ('semseg', 'human_parts', 'saliency', 'instance'):
        assert (small[name] == large[name][..., 1::3, 1::3]).mean() > 0.999, name
    same = small['instance'] == large['instance'][1::3, 1::3]
    for name, factor in (('depth', 1), ('normals', 1), ('scene_flow', 1), ('optical_flow', 3)):
        difference = np.abs(small[name] * factor - large[name][:, 1::3, 1::3])[:, same]
        assert np.quantile(difference, 0.999) < 2e-3, name
    assert np.abs(small['optical_flow']).max() > 1


@pytest.mark.parametrize('size', ((8, 8), (8, 31), (37, 90), (120, 48)))
def test_forms_at_any_size(size):
    made = render(0, 6, size, frames=2)
    channels = dict(normals=3, depth=1, optical_flow=2, scene_flow=3, albedo=3, shading=1)
    for name, count in channels.items():
        assert made[name].shape == (count, *size) and made[name].dtype == np.float32, name
        assert np.isfinite(made[name]).all(), name
    for name, top in dict(semseg=len(CLASSES), human_parts=len(PARTS), saliency=2, boundary=2).items():
        assert made[name].shape == size and made[name].dtype == np.int64, name
        assert made[name].min() >= 0 and made[name].max() < top, name
    for name in ('img', 'img_next'):
        assert made[name].shape == (*size, 3) and made[name].dtype == np.uint8
        assert made[name].flags.c_contiguous
    assert made['visible'].shape == size and made['visible'].dtype == bool


@pytest.mark.parametrize(
    'wrong, words',
    [
        (dict(seed=-1), 'seed'),
        (dict(index=0.5), 'index'),
        (dict(size=(4, 64)), 'at least 8'),
        (dict(size=64), 'height, width'),
        (dict(frames=3), 'frames'),
    ],
)
def test_bad_arguments_are_named(wrong, words):
    with pytest.raises(ValueError, match=words):
        render(**{**dict(seed=0, index=0), **wrong})


# ---- geometry ----------------------------------------------------------------------------------------------
def test_normals_are_the_gradient_of_depth_on_planes(pair):
    place = points(pair['depth'][0], pair['intrinsics'])
    across = place[:, 1:-1, 2:] - place[:, 1:-1, :-2]
    down = place[:, 2:, 1:-1] - place[:, :-2, 1:-1]
    normal = np.cross(down, across, axis=0)  # towards the camera: y is down, z forward
    normal /= np.linalg.norm(normal, axis=0)
    normal *= np.array((1, -1, -1))[:, None, None]
    plane = same_around(np.concatenate((pair['normals'], pair['instance'][None])))[1:-1, 1:-1]
    plane &= pair['semseg'][1:-1, 1:-1] != CLASSES.index('table')  # faces of its boards lie in parallel planes
    assert plane.mean() > 0.4
    cosine = (normal * pair['normals'][:, 1:-1, 1:-1]).sum(axis=0)[plane]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.5


def test_normals_of_round_things_follow_their_depth():
    made = render(5, 42, (384, 384))  # finely sampled, or differences cut corners
    place = points(made['depth'][0], made['intrinsics'])
    normal = np.cross(place[:, 2:, 1:-1] - place[:, :-2, 1:-1], place[:, 1:-1, 2:] - place[:, 1:-1, :-2], axis=0)
    normal = normal / np.linalg.norm(normal, axis=0) * np.array((1, -1, -1))[:, None, None]
    rounded = np.isin(made['semseg'], (FIGURE, CLASSES.index('ball')))
    inner = same_around(np.stack((made['instance'], made['human_parts'])))
    facing = made['normals'][2] > 0.5
    use = (rounded & inner & facing)[1:-1, 1:-1]
    angle = np.degrees(np.arccos(np.clip((normal * made['normals'][:, 1:-1, 1:-1]).sum(axis=0)[use], -1, 1)))
    assert use.sum() > 5000 and np.median(angle) < 1 and np.quantile(angle, 0.9) < 5


def test_normals_are_unit_and_face_the_camera(pair):
    np.testing.assert_allclose(np.linalg.norm(pair['normals'], axis=0), 1, atol=1e-5)
    back = -points(pair['depth'][0], pair['intrinsics']) * np.array((1, -1, -1))[:, None, None]
    back /= np.linalg.norm(back, axis=0)
    assert (back * pair['normals']).sum(axis=0).min() > -1e-3
    floor = pair['normals'][:, pair['semseg'] == CLASSES.index('floor')].mean(axis=1)
    assert floor[1] > 0.9


def inside(scene, frame: int, where: np.ndarray) -> np.ndarray:
    """By definition: primitive containing each world point (m, 3), -1 in the air of the room, -2 beyond its walls."""
    matrix, offset = local_from_world(scene, frame)
    found = np.full(len(where), -1)
    beyond = np.abs(where - (0, scene.room[1] / 2, 0)) > scene.room / 2
    found[beyond.any(axis=1)] = -2
    for n in range(len(scene.axis)):
        q = where @ matrix[n].T + offset[n]
        if scene.boxy[n]:
            within = np.abs(q).max(axis=1) < 1
        else:
            q[:, 1] -= np.clip(q[:, 1], -scene.axis[n], scene.axis[n])
            within = (q**2).sum(axis=1) < 1
        found[within & (found == -1)] = n
    return found


@pytest.mark.parametrize('frame', (0, 1))
@pytest.mark.parametrize('index', (3, 14))
def test_rays_by_walking_along_them(index, frame):
    """Steps of 4 mm until a point lies in something find the depths of the closed forms."""
    scene = describe(5, index)
    seen = trace(scene, frame, SIZE)
    rng = np.random.default_rng(index)
    solid = np.argwhere(seen.index >= SURFACES)
    chosen = np.concatenate((rng.choice(solid, 40), rng.integers(0, 96, (20, 2))))
    x, y = seen.rays
    missed = 0
    for row, column in chosen:
        ray = scene.camera_rotation[frame] @ (x[column], y[row], 1)
        steps = np.arange(0.05, 9, 0.004)
        found = inside(scene, frame, scene.camera_centre[frame] + steps[:, None] * ray)
        first = int(np.argmax(found != -1))
        missed += abs(steps[first] - seen.depth[row, column]) > 0.006  # it may step over a grazed rim
    assert missed <= 2


def test_human_parts_and_saliency_belong_to_their_objects(pair):
    np.testing.assert_array_equal(pair['human_parts'] > 0, pair['semseg'] == FIGURE)
    assert len(np.unique(pair['instance'][pair['saliency'] == 1])) == 1
    hero = pair['instance'] == pair['instance'][pair['saliency'] == 1][0]
    np.testing.assert_array_equal(hero, pair['saliency'] == 1)


def test_boundary_is_one_pixel_thin_between_instances(pair):
    instance, boundary = pair['instance'], pair['boundary']
    height, width = instance.shape
    expected = np.zeros_like(boundary)
    for i in range(height):
        for j in range(width):
            for a, b in ((i - 1, j), (i + 1, j), (i, j - 1), (i, j + 1)):
                if 0 <= a < height and 0 <= b < width and instance[i, j] > instance[a, b]:
                    expected[i, j] = 1
    np.testing.assert_array_equal(boundary, expected)
    classes_differ = pair['semseg'][:, 1:] != pair['semseg'][:, :-1]
    touched = boundary[:, 1:] | boundary[:, :-1]
    assert (touched[classes_differ] == 1).all()  # every change of class carries a boundary


# ---- motion ------------------------------------------------------------------------------------------------
def test_scene_flow_projects_to_optical_flow(pair):
    after = points(pair['depth'][0], pair['intrinsics']) + pair['scene_flow']
    seen = np.einsum('ij,jhw->ihw', pair['intrinsics'], after)
    height, width = SIZE
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    np.testing.assert_allclose(seen[0] / seen[2] - u, pair['optical_flow'][0], atol=2e-3)
    np.testing.assert_allclose(seen[1] / seen[2] - v, pair['optical_flow'][1], atol=2e-3)


def warp(image: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """(C, H, W) of frame 2 fetched to frame 1, bilinearly."""
    height, width = flow.shape[1:]
    u, v = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    fetched = cv2.remap(
        np.ascontiguousarray(image.transpose(1, 2, 0)),
        u + flow[0],
        v + flow[1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return fetched.reshape(height, width, -1).transpose(2, 0, 1)


def test_the_second_frame_warps_to_the_first_where_visible(pair):
    visible = pair['visible']
    assert 0.6 < visible.mean() < 0.99
    for name in ('albedo', 'linear'):
        error = np.abs(warp(pair[f'{name}_next'], pair['optical_flow']) - pair[name])[:, visible]
        assert error.mean() < 0.02 and np.median(error) < 0.006, name
        if name == 'albedo':  # shadows do not move with what they fall on
            still = np.abs(pair['albedo_next'] - pair['albedo'])[:, visible]
            assert error.mean() < 0.5 * still.mean()


def test_warped_depth_is_the_depth_after_the_motion(pair):
    inner = pair['visible'] & same_around(pair['instance'][None])
    after = pair['depth'][0] + pair['scene_flow'][2]
    error = np.abs(warp(pair['depth_next'], pair['optical_flow'])[0] - after)[inner]
    assert np.median(error) < 1e-3 and np.quantile(error, 0.95) < 0.02
    hidden = ~pair['visible'][4:-4, 4:-4] & (np.abs(pair['optical_flow']).max(axis=0) < 4)[4:-4, 4:-4]
    behind = (warp(pair['depth_next'], pair['optical_flow'])[0] - after)[4:-4, 4:-4][hidden]
    assert np.median(behind) < 0.01  # what is hidden has something nearer before it


# ---- light -------------------------------------------------------------------------------------------------
def test_albedo_times_shading_is_the_linear_image(pair):
    np.testing.assert_array_equal(pair['albedo'] * pair['shading'], pair['linear'])
    assert pair['albedo'].min() >= 0 and pair['albedo'].max() <= 1
    assert pair['shading'].min() > 0 and pair['shading'].max() <= 1
    value = pair['linear'].astype(np.float64)
    srgb = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    assert np.abs(255 * srgb.transpose(1, 2, 0) - pair['img']).max() < 0.75


def test_tone_map_is_monotone_and_spans_all_codes():
    codes = tone_map(np.linspace(0, 1, 100001, dtype=np.float32)).astype(int)
    assert codes[0] == 0 and codes[-1] == 255 and set(np.diff(codes)) == {0, 1}


def test_shadows_are_where_the_way_to_the_lamp_is_blocked():
    """The middle of the lamp is hidden (walking towards it) about where more than half of it is said to be."""
    agree, shaded = [], 0
    for index in (3, 7, 11, 42):
        scene = describe(5, index)
        seen = trace(scene, 0, SIZE)
        beam = seen.point - scene.lamp.astype(np.float32)[:, None]
        length = np.sqrt((beam**2).sum(axis=0))
        beam = beam / length
        lit = (beam * seen.normal).sum(axis=0) < -0.05
        share = _lamp_share(scene, 0, seen, beam, length, lit)
        rng = np.random.default_rng(index)
        dark, bright = np.flatnonzero(lit & (share < 0.2)), np.flatnonzero(lit & (share > 0.8))
        shaded += dark.size
        for n in np.concatenate((rng.choice(dark, 30), rng.choice(bright, 30))):
            start = seen.point[:, n] + 0.012 * seen.normal[:, n]
            way = np.linspace(0, 1, 900)[:, None] * (scene.lamp - start) + start
            agree.append((inside(scene, 0, way) >= 0).any() == (share[n] < 0.5))
    assert shaded > 500 and np.mean(agree) > 0.96


def test_bounding_spheres_hold_their_objects():
    scene = describe(5, 14)
    centre, radius, body_centre, body_radius = _spheres(scene, 1)
    for number, body in enumerate(scene.bodies):
        for n in range(body.start, body.stop):
            assert np.linalg.norm(centre[n] - body_centre[number]) <= body_radius[number]
            assert radius[n] >= scene.size[n].max()
    axes, cosines, _ = _cones(scene, body_centre, body_radius)
    np.testing.assert_allclose(np.linalg.norm(axes, axis=1), 1, atol=1e-6)
    assert (cosines >= 0).all()


# ---- what there is to learn --------------------------------------------------------------------------------
def test_scenes_are_varied_and_peopled():
    made = [render(7, i, (48, 48)) for i in range(60)]
    share = np.array([np.bincount(m['semseg'].ravel(), minlength=len(CLASSES)) for m in made]) / 48**2
    assert (share.mean(axis=0) > 0.01).all()
    assert (share[:, FIGURE] > 0.01).mean() > 0.75
    parts = np.array([np.bincount(m['human_parts'].ravel(), minlength=len(PARTS)) for m in made])
    assert ((parts > 0).mean(axis=0) > 0.7).all()
    salient = np.array([m['saliency'].mean() for m in made])
    assert (salient > 0.01).mean() > 0.95 and 0.04 < salient.mean() < 0.2
    boundary = np.array([m['boundary'].mean() for m in made])
    assert 0.03 < boundary.mean() < 0.2
    walls = [tuple(m['albedo'][:, m['semseg'] == 0].mean(axis=1).round(1)) for m in made]
    assert len(set(walls)) > 10
