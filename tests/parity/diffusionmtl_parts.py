"""Replay of recorded parts of DiffusionMTL's program: losses, metrics, and the training transforms."""

from __future__ import annotations

import random
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from mmmtl.datasets.transforms import (
    CentredPad,
    PackMTLInputs,
    PhotoMetricDistortion,
    RandomCrop,
    RandomFlip,
    RandomScale,
)
from mmmtl.evaluation.functional import depth, saliency, segmentation, vectors
from mmmtl.models.data_preprocessor import MTLDataPreprocessor

from .common import LOSS, OUTPUT, Quantity, Result, compared, label_of, published_form, published_task, quantity
from .diffusionmtl import task_of

LEVEL = 1 / 255 / 0.224
"""One level of an 8-bit image after normalisation."""
SINGLE = 1e-6
"""Where the pixels are equal: normalisation in single precision."""
CLASSES = dict(semseg=21, human_parts=7)
DEPTH_FIGURES = {'RMSE': 'rmse', 'logRMSE': 'log_rmse', 'relErr': 'abs_rel', 'sqRel': 'sq_rel', 'absErr': 'abs_err'}


def kind_of(data: dict) -> str | None:
    """Which of the recorded parts ``data`` is."""
    cases = [set(c) for c in data.values() if isinstance(c, dict)]
    for kind, keys in (('losses', {'x', 'y', 'loss', 'grad'}), ('metrics', {'updates', 'score'})):
        if cases and all(keys <= c for c in cases):
            return kind
    return 'transforms' if 'cv2' in data and cases and all({'inp', 'out'} <= c for c in cases) else None


def recognises(data: dict) -> bool:
    """Whether ``data`` records parts of DiffusionMTL."""
    return kind_of(data) is not None


def replay(data: dict) -> list[Result]:
    """``(quantity, difference, tolerance)`` of everything the file records."""
    return compared({'losses': _losses, 'metrics': _metrics, 'transforms': _transforms}[str(kind_of(data))](data))


def _losses(data: dict) -> dict[str, Quantity]:
    """Values and gradients of every task's loss on all samples together, in double precision."""
    found = {}
    for published, case in data.items():
        task = task_of(published, case['x'].shape[1])
        x = case['x'].double().requires_grad_()
        loss = task.loss(x, label_of(task, case['y'].double()))
        loss.backward()
        found[f'loss {published}'] = quantity(loss, case['loss'], LOSS)
        found[f'gradient {published}'] = quantity(x.grad, case['grad'], OUTPUT)
    return found


def _metrics(data: dict) -> dict[str, Quantity]:
    found = {}
    for published, case in data.items():
        updates, score = case['updates'], case['score']
        task = task_of(published, updates[0]['logits'].shape[1])
        for i, update in enumerate(updates):
            post, wanted = published_form(published, task.predict(update['logits'].double())), update['post']
            if published == 'depth':
                wanted = task.bound(wanted)  # published unbounded
            found[f'{published} post-processed, batch {i}'] = quantity(post, wanted, 2 * OUTPUT)
        for name, value in _score(published, updates).items():
            found[f'{published} {name}'] = quantity(value, score[name], 1e-6)
    return found


def _score(published: str, updates: list[dict]) -> dict[str, float]:
    """The published figures of recorded predictions and labels."""
    posts, labels = [u['post'].numpy() for u in updates], [u['gt'].numpy() for u in updates]
    pairs = list(zip(posts, labels))
    if published in ('semseg', 'human_parts'):
        classes = updates[0]['logits'].shape[1]
        confusion = sum(segmentation.confusion_matrix(p, t[:, 0].astype(np.int64), classes) for p, t in pairs)
        return {'mIoU': 100 * segmentation.mean_iou(confusion, absent='zero')}
    if published == 'sal':
        counts = sum(saliency.threshold_counts(p / np.float32(255), t, double_sigmoid=True) for p, t in pairs)
        return {'maxF': 100 * saliency.max_f(counts)}
    if published == 'normals':
        angles = []
        for post, label in pairs:
            valid = (label != 255).all(1)
            pred, truth = post.transpose(3, 0, 1, 2) / 255 * 2 - 1, label.transpose(1, 0, 2, 3)
            angles.append(vectors.angular_error(pred[:, valid], truth[:, valid]))
        return {'mean': np.concatenate(angles).mean()}
    if published == 'depth':
        sums = [depth.depth_sums(p[..., 0][t[:, 0] != 255], t[:, 0][t[:, 0] != 255]) for p, t in pairs]
        figures = depth.depth_metrics({k: sum(s[k] for s in sums) for k in sums[0]})
        return {theirs: figures[ours] for ours, theirs in DEPTH_FIGURES.items()}
    # the published loss is given probabilities in the place of logits, and batches count alike
    task = published_task('edge')
    losses = [task.loss(u['post'][:, None].double() / 255, label_of(task, u['gt'])) for u in updates]
    return {'loss': float(sum(losses)) / len(losses)}


def _transforms(data: dict) -> dict[str, Quantity]:
    # other versions of OpenCV round the resize and the HSV conversion differently by one level
    tolerance = 0.0 if cv2.__version__ == data['cv2'] else 2 * LEVEL
    found = {}
    for name, case in data.items():
        if not isinstance(case, dict):
            continue
        packed = _transformed(case)
        for published, expected in case['out'].items():
            if published == 'image':
                batch = MTLDataPreprocessor()({k: [v] for k, v in packed.items()})
                found[f'{name} image'] = quantity(batch['inputs'][0], expected, tolerance or SINGLE)
            elif published != 'meta':
                label = packed['data_samples'].gt.get(task_of(published, CLASSES.get(published, 1)).name)
                label = torch.nan_to_num(label, nan=255.0) if label.is_floating_point() else label.float()
                found[f'{name} {published}'] = quantity(label, expected, 0.0)
    return found


def _transformed(case: dict) -> dict[str, Any]:
    """The recorded input after the published training (a case with a seed) or test transforms."""
    tasks, labels = {}, {}
    for published, value in case['inp'].items():
        if isinstance(value, Tensor) and published != 'image':
            task = task_of(published, CLASSES.get(published, 1))
            array = value.numpy()
            if published == 'normals':
                array = array.transpose(2, 0, 1).astype(np.float32)
                array = np.where((array == 0).all(0), np.float32(np.nan), array)
            else:
                array = array[..., 0].astype(np.int64)
            tasks[task.name], labels[task.name] = task, array
    results = dict(
        img=case['inp']['image'].numpy(),
        gt=labels,
        tasks=tasks,
        rng=random.Random(case.get('seed', 0)),
        padding=(0,) * 4,
        flip=False,
        scale_factor=(1.0, 1.0),
        sample_id='x',
        test_mode=False,
    )
    size = tuple(case['out']['image'].shape[-2:])
    steps: list[Any] = [CentredPad(size), PackMTLInputs()]
    if 'seed' in case:
        steps = [RandomScale((0.5, 2.0)), RandomCrop(size, 'semseg'), RandomFlip(0.5), PhotoMetricDistortion(), *steps]
    for step in steps:
        results = step(results)
    return results
