"""A dataset that lives in memory and labels for every shipped task, shared by the tests of this folder."""

from __future__ import annotations

import numpy as np
import pytest

from mmmtl.datasets import MTLDataset
from mmmtl.tasks import build_tasks

CONFIGS = dict(
    semseg=dict(type='SemanticSegmentation', classes=12),
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
VALUES = dict(depth=(0.5, 9.0), optical_flow=(-8.0, 8.0), scene_flow=(-1.0, 1.0), albedo=(0.0, 1.0), shading=(0.0, 1.0))


def random_label(task, size, rng: np.random.Generator, known: float = 0.8) -> np.ndarray:
    """A label of the task's own form, of blocks 3 pixels wide, with about ``1 - known`` unknown pixels."""
    height, width = size
    blocks = (-(-height // 3), -(-width // 3))

    def grow(small):
        return np.repeat(np.repeat(small, 3, -2), 3, -1)[..., :height, :width]

    hidden = rng.random(size) > known
    if task.categorical:
        label = grow(rng.integers(0, task.num_classes, blocks)).astype(np.int64)
        label[hidden] = 255
        return label
    low, high = VALUES.get(task.name, (-1.0, 1.0))
    label = grow(rng.uniform(low, high, (task.channels, *blocks))).astype(np.float32)
    if task.name == 'normals':
        label /= np.linalg.norm(label, axis=0)
    label[:, hidden] = np.nan
    return label


class Memory(MTLDataset):
    """Every image and label is drawn from the sample id; ``opened`` records what was read."""

    def __init__(self, tasks, count=8, size=(40, 50), available=None, **kwargs):
        self.count, self.size, self.has, self.opened = count, size, available or {}, []
        super().__init__(tasks, **kwargs)

    def list_samples(self):
        made = [
            dict(sample_id=f'scene {i}', img_path=f'memory/{i}.png', next_path='', number=i) for i in range(self.count)
        ]
        for info in made:
            if info['sample_id'] in self.has:
                info['available'] = self.has[info['sample_id']]
        return made

    def load_image(self, info):
        return np.random.default_rng(info['number']).integers(0, 256, (*self.size, 3), np.uint8)

    def load_next_image(self, info):
        return np.random.default_rng(1000 + info['number']).integers(0, 256, (*self.size, 3), np.uint8)

    def sources(self):
        return sorted(CONFIGS)

    def read_label(self, info, task):
        self.opened.append((info['sample_id'], task.name))
        return random_label(task, self.size, np.random.default_rng(info['number']))


@pytest.fixture
def tasks():
    """All ten tasks."""
    return build_tasks(CONFIGS)


@pytest.fixture
def memory():
    """The in-memory dataset class."""
    return Memory


@pytest.fixture
def make_results(tasks):
    """A function giving the dict that travels through a pipeline, with labels of the named tasks (default: all)."""
    import random

    def make(size=(40, 50), seed=0, names=None, pair=True, known=0.8):
        rng = np.random.default_rng(seed)
        chosen = {n: tasks[n] for n in (names or tasks)}
        results = dict(
            img=rng.integers(0, 256, (*size, 3), np.uint8),
            gt={n: random_label(t, size, rng, known) for n, t in chosen.items()},
            leaked={},
            tasks=chosen,
            rng=random.Random(seed),
            sample_id=f'made {seed}',
            img_path='',
            ori_shape=size,
            img_shape=size,
            padding=(0, 0, 0, 0),
            scale_factor=(1.0, 1.0),
            flip=False,
            test_mode=False,
        )
        if pair:
            results['img_next'] = rng.integers(0, 256, (*size, 3), np.uint8)
        return results

    return make


@pytest.fixture
def write_folder():
    """A function writing a folder data set: images, semseg PNGs and 16-bit depth PNGs in millimetres."""
    import cv2

    def write(root, count=4, size=(24, 32)):
        for name in ('images', 'semseg', 'depth'):
            (root / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            rng = np.random.default_rng(k)
            cv2.imwrite(str(root / 'images' / f'photo{k}.jpg'), rng.integers(0, 256, (*size, 3), np.uint8))
            cv2.imwrite(str(root / 'semseg' / f'photo{k}.png'), rng.integers(0, 5, size).astype(np.uint8))
            cv2.imwrite(str(root / 'depth' / f'photo{k}.png'), rng.integers(0, 5000, size).astype(np.uint16))

    return write
