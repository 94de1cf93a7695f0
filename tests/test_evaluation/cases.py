"""Ten tasks and seeded samples with labels and predictions, some labels missing."""

from __future__ import annotations

import numpy as np

from mmmtl.structures import MTLDataSample
from mmmtl.tasks import build_tasks

SIZE = (40, 52)

TASKS = dict(
    semseg=dict(type='SemanticSegmentation', classes=5),
    human_parts=dict(type='HumanParts'),
    saliency=dict(
        type='Saliency', metric=[dict(type='SaliencyMeasure', protocol=p) for p in ('clean', 'upstream', 'toolkit')]
    ),
    normals=dict(
        type='SurfaceNormals', metric=[dict(type='NormalsError'), dict(type='NormalsError', protocol='upstream')]
    ),
    boundary=dict(
        type='Boundary',
        metric=[
            dict(type='BoundaryMeasure', max_dist=0.03, thresholds=[0.2, 0.4, 0.6, 0.8], protocol=protocol)
            for protocol in ('atrc', 'mti')
        ],
    ),
    depth=dict(
        type='Depth', metric=[dict(type='DepthError', max_depth=9.0), dict(type='DepthError', protocol='upstream')]
    ),
    optical_flow=dict(
        type='OpticalFlow', metric=[dict(type='EndPointError'), dict(type='EndPointError', protocol='upstream')]
    ),
    scene_flow=dict(type='SceneFlow'),
    albedo=dict(type='Albedo', metric=[dict(type='ImageError'), dict(type='ImageError', protocol='upstream')]),
    shading=dict(type='Shading'),
)


def make_tasks():
    return build_tasks(TASKS)


def make_maps(task, rng):
    """(prediction, label) of a task in their forms, with invalid pixels."""
    height, width = SIZE
    invalid = rng.random(SIZE) < 0.1
    if task.categorical:
        gt = rng.integers(0, task.num_classes, SIZE)
        pred = np.where(rng.random(SIZE) < 0.6, gt, rng.integers(0, task.num_classes, SIZE))[None]
        if task.num_classes == 2:  # predicted as a probability
            pred = (0.6 * pred + 0.4 * rng.random((1, *SIZE))).astype(np.float32)
        return pred, np.where(invalid, 255, gt)
    gt = rng.random((task.channels, *SIZE), dtype=np.float32) * 8 + 0.5
    if task.value_range[1] == 1.0:
        gt /= 10
    if task.default_name == 'normals':
        gt /= np.linalg.norm(gt, axis=0)
    pred = (gt * rng.uniform(0.7, 1.2) + rng.normal(0, 0.1, gt.shape)).astype(np.float32)
    pred = np.clip(pred, *task.value_range).astype(np.float32)
    return pred, np.where(invalid, np.float32(np.nan), gt)


def make_samples(count, tasks, seed=0, keep=0.6):
    """Samples whose labels are each there with probability ``keep``."""
    samples = []
    for i in range(count):
        rng = np.random.default_rng([seed, i])
        maps = {name: make_maps(task, rng) for name, task in tasks.items()}
        sample = MTLDataSample(metainfo=dict(sample_id=f'scene {i:03d}'))
        sample.pred = {name: pred for name, (pred, _) in maps.items()}
        sample.gt = {name: gt for name, (_, gt) in maps.items() if rng.random() < keep}
        samples.append(sample)
    return samples
