"""Predictions and metrics that do not belong together give no figure that looks like one."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from PIL import Image

from mmmtl.analysis.prediction_files import PredictionFolder
from mmmtl.errors import ConfigError, FileError, InputError
from mmmtl.evaluation.metrics import MultiTaskMetric
from mmmtl.evaluation.metrics.base import TaskMetric
from mmmtl.registry import METRICS
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import Boundary, Depth, SemanticSegmentation, build_tasks

SIZE = (12, 20)
EDGES = (np.indices(SIZE).sum(0) % 5 == 0).astype(np.int64)
NORMALS = np.broadcast_to(np.float32([0.6, 0, 0.8])[:, None, None], (3, *SIZE))
DEPTH = np.ones((1, *SIZE), np.float32)


def measure(kind, *pairs, **options):
    """Metrics of predictions and labels of the task 'x'."""
    metric = MultiTaskMetric(workers=0)
    metric.dataset_meta = dict(tasks=build_tasks(dict(x=dict(type=kind, **options))))
    for i, (pred, gt) in enumerate(pairs):
        sample = MTLDataSample(metainfo=dict(sample_id=str(i)))
        sample.gt, sample.pred = {'x': torch.tensor(gt)}, {'x': torch.tensor(pred)}
        metric.process({}, [sample])
    return metric.evaluate(len(pairs))


def test_numbers_that_are_none_stay_visible():
    """One image that diverged beside one that is perfect: no mean, and nothing that counts for it."""
    found = measure('SurfaceNormals', (NORMALS * np.nan, NORMALS), (NORMALS, NORMALS))
    assert all(math.isnan(found[f'x/{name}']) for name in ('mErr', 'median', 'rmsErr')) and found['x/within5'] == 0.5
    flow = NORMALS[:2] * 9
    found = measure('OpticalFlow', (flow * np.nan, flow), (flow, flow))
    assert math.isnan(found['x/EPE']) and math.isnan(found['x/angle']) and found['x/Fl'] == 0.5
    found = measure('SceneFlow', (NORMALS * np.nan, NORMALS), (NORMALS, NORMALS))
    assert math.isnan(found['x/EPE']) and found['x/outliers'] == found['x/accStrict'] == 0.5


@pytest.mark.parametrize('metric', ['BoundaryMeasure', 'BoundaryLoss', 'SaliencyMeasure'])
@pytest.mark.parametrize('pred', [255.0 * EDGES, 20.0 * EDGES - 10, 255 * EDGES], ids=['0..255', 'logits', 'integers'])
def test_probabilities_are_probabilities(metric, pred):
    kind = 'Saliency' if metric == 'SaliencyMeasure' else 'Boundary'
    with pytest.raises(InputError, match=r"sample '0', task 'x': expected probabilities in \[0, 1\]"):
        measure(kind, (pred[None], EDGES), metric=dict(type=metric))
    found = measure(kind, (EDGES[None] * 1.0, EDGES), metric=dict(type=metric))
    for kind_of_number in (np.uint8, np.int64, bool):  # 1 is 1
        assert measure(kind, (EDGES[None].astype(kind_of_number), EDGES), metric=dict(type=metric)) == found
    with pytest.raises(InputError, match='against labels of 0, 1 and 255'):
        measure(kind, (EDGES[None] * 1.0, -EDGES), metric=dict(type=metric))


@pytest.mark.parametrize(
    'kind, pred, gt, metric, words',
    [
        ('Depth', DEPTH, DEPTH, dict(type='NormalsError'), 'NormalsError measures .* 2 or more channels'),
        ('SurfaceNormals', NORMALS, NORMALS, dict(type='DepthError'), 'DepthError measures .* with 1 channels'),
        ('SurfaceNormals', NORMALS[:2], NORMALS, dict(type='NormalsError'), 'their channels must agree'),
        ('HumanParts', EDGES, EDGES, dict(type='ImageError'), 'ImageError measures .* 1 or more channels'),
        ('HumanParts', EDGES, EDGES, dict(type='EndPointError'), 'EndPointError measures .* 2 to 3 channels'),
        ('Depth', DEPTH, DEPTH, dict(type='EndPointError'), 'EndPointError measures'),
        *(
            (
                'Shading',
                DEPTH,
                DEPTH,
                dict(type=metric),
                f'{metric} measures probabilities against labels of 0, 1 and 255',
            )
            for metric in ('BoundaryMeasure', 'BoundaryLoss', 'SaliencyMeasure')
        ),
        ('HumanParts', EDGES, 2 * EDGES, dict(type='SaliencyMeasure'), 'found a label int64'),
    ],
)
def test_metrics_of_other_tasks(kind, pred, gt, metric, words):
    with pytest.raises(InputError, match=words):
        measure(kind, (pred, gt), metric=metric)


def test_classes_of_a_metric_are_those_of_the_task():
    for count in (4, 9):
        with pytest.raises(ConfigError, match=f"task 'x'.*num_classes={count}, the task has 5"):
            measure('SemanticSegmentation', classes=5, metric=dict(type='MeanIoU', num_classes=count))
    with pytest.raises(ConfigError, match='1 names for num_classes=5'):
        METRICS.build(dict(type='MeanIoU', num_classes=5, classes=['road']))


@pytest.mark.parametrize('thresholds', [(), (10, 128, 250), (0.0, 0.5)])
def test_thresholds_of_another_scale(thresholds):
    with pytest.raises(ConfigError, match=r'thresholds must lie in \(0, 1\]'):
        METRICS.build(dict(type='SaliencyMeasure', thresholds=thresholds))


@pytest.mark.parametrize('most', [0.75, 7.5])
def test_a_distance_of_matches_is_a_share_of_the_diagonal(most):
    with pytest.raises(ConfigError, match='no percentage and no pixels'):
        measure('Boundary', max_dist=most)


def test_what_is_not_measured_is_told():
    said: list[str] = []
    keep = logging.Handler()
    keep.emit = lambda record: said.append(record.getMessage())
    MMLogger.get_instance('measured').addHandler(keep)
    assert measure('Depth', (DEPTH, DEPTH * 1500)) == {}
    assert any("task 'x': DepthError measured nothing in 1 labelled images" in line for line in said)


# ---- predictions in files -------------------------------------------------------------------------------------------
def folder(tmp_path, **files):
    """A folder of predictions of the task 'x'."""
    (tmp_path / 'x').mkdir(exist_ok=True)
    for name, value in files.items():
        path = tmp_path / 'x' / name.replace('_', '.')
        value.save(path) if isinstance(value, Image.Image) else np.save(path, value)
    return str(tmp_path)


def test_pictures_of_few_bits_are_probabilities(tmp_path):
    root = folder(tmp_path, a_png=Image.fromarray(EDGES == 1))
    np.testing.assert_array_equal(PredictionFolder(root, dict(x=Boundary('x'))).read('a', 'x')[0], EDGES)


def test_two_classes_are_what_a_palette_of_black_and_white_shows(tmp_path):
    picture = Image.fromarray((EDGES == 0).astype(np.uint8), 'P')
    picture.putpalette([255, 255, 255, 0, 0, 0])  # the order that a program that compresses pictures has chosen
    root = folder(tmp_path, a_png=picture)
    two = build_tasks(dict(x=dict(type='SemanticSegmentation', classes=2)))
    np.testing.assert_array_equal(PredictionFolder(root, two).read('a', 'x'), EDGES)


def test_a_prediction_is_one_file_of_one_sample(tmp_path):
    root = folder(tmp_path, a_npy=DEPTH, a_tif=Image.fromarray(DEPTH[0]), b_npy=DEPTH)
    predictions = PredictionFolder(root, dict(x=Depth('x')))
    with pytest.raises(FileError, match=r"are both predictions for sample 'a'"):
        predictions.read('a', 'x')
    assert predictions.read('one/b', 'x').shape == predictions.read('one/b', 'x').shape
    with pytest.raises(FileError, match=r"b\.npy would be the prediction for two samples, 'one/b' and 'two/b'"):
        predictions.read('two/b', 'x')


def test_predictions_of_several_maps_are_refused(tmp_path):
    grey = Image.fromarray(EDGES.astype(np.uint8) * 200)
    clear = Image.merge('LA', (grey, grey))
    root = folder(tmp_path, b_png=clear)
    grey.save(tmp_path / 'x/a.tif', save_all=True, append_images=[grey])
    for name, words in (('a', '2 pages'), ('b', 'pixels of different transparency')):
        with pytest.raises(FileError, match=words):
            PredictionFolder(root, dict(x=Boundary('x'))).read(name, 'x')


@pytest.mark.parametrize('form', [dict(scale=float('nan')), dict(scale='x'), dict(offset=0.5), dict(scale=0.1)])
def test_formats_of_predictions_are_numbers_that_mean_something(tmp_path, form):
    task = SemanticSegmentation('x', classes=3)
    with pytest.raises(ConfigError, match=r'formats\.x'):
        PredictionFolder(folder(tmp_path), dict(x=task), dict(x=form))


class Odd(TaskMetric):
    """A metric of a plug-in that gives no state."""

    protocols, greater_is_better = ('clean',), {'n': True}

    def measure(self, pred, gt):
        return 2.0

    def compute(self, total):
        return {}


def test_states_are_dictionaries_of_numbers(monkeypatch):
    monkeypatch.setitem(METRICS.module_dict, 'Odd', Odd)
    with pytest.raises(ConfigError, match='Odd.measure must give a dictionary of numbers'):
        measure('Depth', (DEPTH, DEPTH), metric=dict(type='Odd'))
