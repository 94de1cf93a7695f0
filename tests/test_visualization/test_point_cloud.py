"""Point clouds: files that read back, and the geometry of a scene whose camera is known."""

from __future__ import annotations

import numpy as np
import pytest

from mmmtl.datasets.diorama.render import render
from mmmtl.errors import ConfigError
from mmmtl.visualization.point_cloud import intrinsics_of, unproject, write_ply


def read_ply(path):
    """Vertices by name, read by the header alone."""
    head, _, body = path.read_bytes().partition(b'end_header\n')
    lines = head.decode('ascii').splitlines()
    assert lines[0] == 'ply' and lines[1] == 'format binary_little_endian 1.0'
    count = next(int(line.split()[-1]) for line in lines if line.startswith('element vertex'))
    kinds = {'float': '<f4', 'uchar': 'u1'}
    fields = [(line.split()[2], kinds[line.split()[1]]) for line in lines if line.startswith('property')]
    vertices = np.frombuffer(body, fields)
    assert len(vertices) == count
    return vertices


def test_a_scene_keeps_its_geometry(tmp_path):
    scene = render(0, 0, (48, 64))
    depth, normals = scene['depth'], scene['normals']
    k = scene['intrinsics']
    points = unproject(depth, intrinsics_of((48, 64), (k[0, 0], k[1, 1], k[0, 2], k[1, 2])))
    np.testing.assert_allclose(points[2], -depth.reshape(48, 64))
    image = np.moveaxis(np.indices((48, 64, 3))[:, :, :, 0], 0, -1)
    colours = np.concatenate([image, image[..., :1] * 0 + 9], -1).astype(np.uint8)
    path = tmp_path / 'scene.ply'
    write_ply(str(path), points, colours, normals, 'a scene')
    found = read_ply(path)
    assert len(found) == np.isfinite(depth).sum()
    known = np.isfinite(depth.reshape(48, 64))
    np.testing.assert_array_equal(found['x'], points[0][known])
    np.testing.assert_array_equal(found['ny'], normals[1][known])
    np.testing.assert_array_equal(found['red'], colours[..., 0][known])
    # the points of a flat surface lie in the plane that its normal spans
    flat = np.abs(np.diff(normals, axis=2)).sum(0)[:, :-1] + np.abs(np.diff(normals, axis=2)).sum(0)[:, 1:] < 1e-6
    step = points[:, :, 2:] - points[:, :, :-2]
    jump = np.abs(np.diff(depth.reshape(48, 64), axis=1))
    flat &= (jump[:, :-1] < 0.2) & (jump[:, 1:] < 0.2)
    lean = np.abs((step * normals[:, :, 1:-1]).sum(0)) / np.linalg.norm(step, axis=0)
    assert flat.sum() > 500 and np.median(lean[flat]) < 1e-3 and np.mean(lean[flat] < 0.02) > 0.97


def test_a_field_of_view_is_what_the_edges_span():
    fx, fy, cx, cy = intrinsics_of((100, 200), fov=90)
    assert fx == fy == pytest.approx(100) and (cx, cy) == (99.5, 49.5)
    points = unproject(np.full((1, 100, 200), 2.0), (fx, fy, cx, cy))
    assert points[0, 0, -1] == pytest.approx(1.99) and points[0, 0, 0] == pytest.approx(-1.99)
    assert points[1, 0, 0] > 0 > points[1, -1, 0]
    assert intrinsics_of((9, 9)) == intrinsics_of((9, 9), fov=60)
    for wrong in (dict(fov=0), dict(intrinsics=(0, 1, 2, 3)), dict(intrinsics=(1, 1, 1, 1), fov=50)):
        with pytest.raises(ConfigError):
            intrinsics_of((9, 9), **wrong)


def test_unknown_points_are_left_out(tmp_path):
    depth = np.array([[1.0, np.nan], [0.0, 2.0]])
    write_ply(str(tmp_path / 'a.ply'), unproject(depth, (1, 1, 0, 0)), np.zeros((2, 2, 3), np.uint8))
    assert read_ply(tmp_path / 'a.ply')['z'].tolist() == [-1, -2]
