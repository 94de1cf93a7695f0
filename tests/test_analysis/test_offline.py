"""Predictions in files: the digits of the evaluation that wrote them, and what other code writes."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mmmtl.analysis.offline import evaluate_predictions
from mmmtl.analysis.prediction_files import PredictionFolder, is_probability, read_prediction
from mmmtl.analysis.side_by_side import draw_side_by_side
from mmmtl.apis import test as run_test
from mmmtl.config import load_config
from mmmtl.errors import ConfigError, FileError
from mmmtl.evaluation import Records
from mmmtl.evaluation.functional.flow import flow_metrics, flow_sums
from mmmtl.registry import METRICS
from mmmtl.tasks import build_tasks
from mmmtl.visualization import write_raw
from tests.test_evaluation.cases import make_tasks

CONFIG = """
default_scope = 'mmmtl'
size = (32, 48)
tasks = dict(
    semseg=dict(type='SemanticSegmentation', classes=8),
    human_parts=dict(type='HumanParts'),
    saliency=dict(type='Saliency', metric=[dict(type='SaliencyMeasure', protocol=p)
                                           for p in ('clean', 'upstream', 'toolkit')]),
    normals=dict(type='SurfaceNormals'),
    boundary=dict(type='Boundary', max_dist=0.03, metric=dict(type='BoundaryMeasure', max_dist=0.03, protocol='mti')),
    depth=dict(type='Depth', max_depth=20.0),
    optical_flow=dict(type='OpticalFlow'),
    scene_flow=dict(type='SceneFlow'),
    albedo=dict(type='Albedo', metric=[dict(type='ImageError', protocol=p) for p in ('clean', 'upstream')]),
    shading=dict(type='Shading'))
model = dict(
    type='MultiTaskModel', tasks=tasks,
    backbone=dict(type='TimmBackbone', model_name='vit_tiny_patch16_224', img_size=size, patch_size=8,
                  embed_dim=24, depth=2, num_heads=2, out_indices=(0, 1)),
    neck=dict(type='LevelProjection', channels=12),
    decoder=dict(type='PlainDecoder', channels=12, num_blocks=1))
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='ExactSampler'),
    dataset=dict(type='Diorama', length=4, scene_seed=1, size=size, tasks=tasks, test_mode=True,
                 pipeline=[dict(type='PackMTLInputs')]))
test_cfg = dict(type='TestLoop')
test_evaluator = dict(type='MultiTaskMetric')
randomness = dict(seed=0)
"""


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    """(folder of the config, figures of an untrained network on ten tasks); its predictions are in ``out``."""
    root = tmp_path_factory.mktemp('offline')
    (root / 'ten.py').write_text(CONFIG)
    metrics = run_test(load_config(str(root / 'ten.py')), None, str(root / 'work'), out=str(root / 'out'))
    return root, metrics


def test_files_give_the_same_digits_for_all_ten_tasks(written):
    root, metrics = written
    assert {name.split('/')[0] for name in metrics} == set(make_tasks())
    again = evaluate_predictions(load_config(str(root / 'ten.py')), str(root / 'out'))
    assert json.dumps(again, sort_keys=True) == json.dumps(metrics, sort_keys=True)
    assert json.loads((root / 'out' / 'metrics.json').read_text()) == again
    recorded = Records.load(str(root / 'out' / 'records.npz')).metrics()
    assert recorded == {name: value for name, value in metrics.items() if 'median' not in name}


def test_probabilities_are_also_written_as_published_tools_read_them(written):
    root, metrics = written
    assert sorted(p.name for p in (root / 'out' / 'uint8').iterdir()) == ['boundary', 'saliency']
    for name in ('boundary', 'saliency'):
        for path in (root / 'out' / name).glob('*.npy'):
            eight_bits = cv2.imread(str(root / 'out' / 'uint8' / name / f'{path.stem}.png'), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(eight_bits, np.floor(np.float32(255) * np.load(path)[0]))
    # boundary figures rest on these eight bits, so they are the same from them
    config = load_config(str(root / 'ten.py'))
    found = evaluate_predictions(config, str(root / 'out' / 'uint8'), tasks=['boundary'])
    assert found == {name: value for name, value in metrics.items() if name.startswith('boundary')}


def test_the_script_and_some_of_the_tasks(written, root_dir, tmp_path):
    root, metrics = written
    done = subprocess.run(
        [
            sys.executable,
            'tools/analysis_tools/eval_predictions.py',
            str(root / 'ten.py'),
            str(root / 'out'),
            '--tasks',
            'depth',
            'semseg',
            '--work-dir',
            str(tmp_path),
        ],
        cwd=root_dir,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / 'metrics.json').read_text())
    assert found == {name: value for name, value in metrics.items() if name.split('/')[0] in ('depth', 'semseg')}
    assert 'RMSE' in done.stdout


def test_files_that_are_not_the_samples_own(written, tmp_path):
    root, _ = written
    (tmp_path / 'depth').mkdir()
    for path in (root / 'out' / 'depth').glob('*.npy'):
        np.save(tmp_path / 'depth' / path.name, np.load(path)[..., :-1])
    with pytest.raises(FileError, match=r"'depth' for sample '.*' is 32 x 47, its label 32 x 48 \(height x width\)"):
        evaluate_predictions(load_config(str(root / 'ten.py')), str(tmp_path), tasks=['depth'])
    predictions = PredictionFolder(str(tmp_path), {'depth': make_tasks()['depth']})
    stem = path.stem
    predictions.read(f'kitchen/{stem}', 'depth')
    with pytest.raises(FileError, match=f"would be the prediction for two samples, 'kitchen/{stem}' and 'hall/{stem}'"):
        predictions.read(f'hall/{stem}', 'depth')
    cv2.imwrite(str(tmp_path / 'depth' / f'{stem}.png'), np.zeros((32, 48), np.uint16))
    with pytest.raises(FileError, match='are both predictions for sample'):
        predictions.read(stem, 'depth')


def test_formats_on_the_command_line(written, monkeypatch, capsys, tmp_path):
    """Depth in millimetres, as other code writes it: the same digits but for the rounding."""
    root, metrics = written
    for path in (root / 'out' / 'depth').glob('*.npy'):
        (tmp_path / 'depth').mkdir(exist_ok=True)
        millimetres = np.rint(np.load(path)[0] * 1000).astype(np.uint16)
        cv2.imwrite(str(tmp_path / 'depth' / f'{path.stem}.png'), millimetres)
    tool = Path(__file__).resolve().parents[2] / 'tools/analysis_tools/eval_predictions.py'
    command = [tool.name, root / 'ten.py', tmp_path, '--tasks', 'depth', '--formats', 'depth.scale=0.001']
    monkeypatch.setattr(sys, 'argv', list(map(str, command)))
    runpy.run_path(str(tool), run_name='__main__')
    found = json.loads((tmp_path / 'metrics.json').read_text())
    assert found['depth/RMSE'] == pytest.approx(metrics['depth/RMSE'], abs=1e-3)
    monkeypatch.setattr(sys, 'argv', [*map(str, command[:-1]), 'scale=0.001'])
    with pytest.raises(SystemExit):
        runpy.run_path(str(tool), run_name='__main__')
    assert 'expected TASK.KEY=VALUE, for example depth.scale=0.001' in capsys.readouterr().err


def test_runs_side_by_side(written, tmp_path):
    root, _ = written
    (tmp_path / 'other' / 'depth').mkdir(parents=True)
    for path in (root / 'out' / 'depth').glob('*.npy'):
        np.save(tmp_path / 'other' / 'depth' / path.name, np.load(path) * 0.5)
    config = load_config(str(root / 'ten.py'), {'only_tasks': ['depth', 'semseg', 'boundary']})
    paths = draw_side_by_side(config, [str(root / 'out'), str(tmp_path / 'other')], str(tmp_path / 'seen'), number=2)
    assert len(paths) == 2
    one = draw_side_by_side(config, [str(root / 'out')], str(tmp_path / 'one'), number=1)
    more, fewer = (cv2.imread(p[0]) for p in (paths, one))
    assert more.shape != fewer.shape and len(np.unique(more.reshape(-1, 3), axis=0)) > 200
    with pytest.raises(ConfigError, match="no sample 'none'"):
        draw_side_by_side(config, [str(root / 'out')], str(tmp_path), images=['none'])
    with pytest.raises(ConfigError, match='1 names for 2 runs'):
        draw_side_by_side(config, [str(root / 'out'), str(tmp_path / 'other')], str(tmp_path), names=['a'])
    with pytest.raises(ConfigError, match='has no predictions'):
        draw_side_by_side(config, [str(tmp_path / 'seen')], str(tmp_path))


def test_options_on_the_command_line(written, root_dir, tmp_path):
    """A protocol and a reference for Δm, as the documentation gives them."""
    root, metrics = written
    options = {
        'tasks.semseg.metric.type': 'MeanIoU',
        'tasks.semseg.metric.num_classes': 8,
        'tasks.semseg.metric.protocol': 'upstream',
        'test_evaluator.reference': str(root_dir / 'configs' / '_base_' / 'references' / 'pascal_r18_one.py'),
    }
    config = load_config(str(root / 'ten.py'), options)
    found = evaluate_predictions(config, str(root / 'out'), str(tmp_path))
    assert 'semseg/mIoU_upstream' in found and 'semseg/mIoU' not in found
    assert 'delta_m' not in found  # the reference has the plain figure
    del options['tasks.semseg.metric.type'], options['tasks.semseg.metric.num_classes']
    options.pop('tasks.semseg.metric.protocol')
    options['test_evaluator.reference'] = str(tmp_path / 'metrics.json')
    (tmp_path / 'metrics.json').write_text(json.dumps({'semseg/mIoU': 2 * metrics['semseg/mIoU'], 'depth/delta1': 0.5}))
    found = evaluate_predictions(load_config(str(root / 'ten.py'), options), str(root / 'out'), str(tmp_path / 'b'))
    assert found['delta_m'] == pytest.approx(
        -50.0
    )  # depth is compared by its primary_metric, which the reference lacks


def test_mistakes(written, tmp_path):
    root, _ = written
    config = load_config(str(root / 'ten.py'))
    with pytest.raises(FileNotFoundError, match='there is no folder of predictions'):
        evaluate_predictions(config, str(tmp_path / 'none'))
    with pytest.raises(ConfigError, match="'dept' is not a task of the test set .*Did you mean 'depth'"):
        evaluate_predictions(config, str(root / 'out'), tasks=['dept'])
    with pytest.raises(ConfigError, match='has no folder human_parts.* with predictions of task'):
        (tmp_path / 'semseg').mkdir()
        evaluate_predictions(config, str(tmp_path), tasks=['semseg', 'human_parts'])
    with pytest.raises(
        FileError, match=r"expected the prediction of task 'semseg' for sample '.*' \(.npy, .*found no such"
    ):
        evaluate_predictions(config, str(tmp_path), tasks=['semseg'])
    with pytest.raises(ConfigError, match="formats: 'dpth' is not a task of this data. Did you mean 'depth'"):
        evaluate_predictions(config, str(root / 'out'), formats={'dpth': {'scale': 1}})
    with pytest.raises(ConfigError, match="formats.depth: unknown entry 'scal'. Did you mean 'scale'"):
        evaluate_predictions(config, str(root / 'out'), formats={'depth': {'scal': 1}})


# ---- what other code writes ------------------------------------------------------------------------------------------
@pytest.fixture(scope='module')
def tasks():
    return make_tasks()


def test_which_tasks_predict_probabilities(tasks):
    assert [name for name, task in tasks.items() if is_probability(task)] == ['saliency', 'boundary']


def test_class_maps(tasks, tmp_path):
    ids = np.random.default_rng(0).integers(0, 5, (6, 8)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'grey.png'), ids)
    palette = Image.fromarray(ids, mode='P')
    palette.putpalette([(7 * i) % 256 for i in range(768)])
    palette.save(tmp_path / 'palette.png')
    np.save(tmp_path / 'map.npy', ids[None].astype(np.int32))
    for name in ('grey.png', 'palette.png', 'map.npy'):
        found = read_prediction(str(tmp_path / name), tasks['semseg'])
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, ids)
    np.testing.assert_array_equal(read_prediction(str(tmp_path / 'grey.png'), tasks['semseg'], offset=-1), ids - 1.0)
    np.save(tmp_path / 'soft.npy', np.zeros((3, 6, 8)))
    with pytest.raises(FileError, match=r"soft.npy: task 'semseg' expects class ids \(H, W\), found float64"):
        read_prediction(str(tmp_path / 'soft.npy'), tasks['semseg'])


def test_probability_maps(tasks, tmp_path):
    value = np.random.default_rng(0).integers(0, 256, (6, 8)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'a.png'), value)
    cv2.imwrite(str(tmp_path / 'wide.png'), value.astype(np.uint16) * 257)
    cv2.imwrite(str(tmp_path / 'colour.png'), np.repeat(value[..., None], 3, 2))
    for name in ('a.png', 'wide.png', 'colour.png'):
        np.testing.assert_array_equal(read_prediction(str(tmp_path / name), tasks['saliency'])[0], value / 255)


def test_values(tasks, tmp_path):
    rng = np.random.default_rng(0)
    value = rng.random((3, 6, 8)).astype(np.float32)
    np.save(tmp_path / 'planes.npy', value)
    np.save(tmp_path / 'pixels.npy', value.transpose(1, 2, 0))
    for name in ('planes.npy', 'pixels.npy'):
        np.testing.assert_array_equal(read_prediction(str(tmp_path / name), tasks['albedo']), value)
    picture = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / 'picture.png')
    stored = picture.transpose(2, 0, 1) / 255
    np.testing.assert_allclose(read_prediction(str(tmp_path / 'picture.png'), tasks['albedo']), stored)
    np.testing.assert_allclose(read_prediction(str(tmp_path / 'picture.png'), tasks['normals']), 2 * stored - 1)
    millimetres = rng.integers(0, 65536, (6, 8)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / 'depth.png'), millimetres)
    found = read_prediction(str(tmp_path / 'depth.png'), tasks['depth'], scale=0.001)
    np.testing.assert_allclose(found[0], millimetres / 1000)
    with pytest.raises(FileError, match='what the numbers of a picture mean must be said .*formats.depth.scale'):
        read_prediction(str(tmp_path / 'depth.png'), tasks['depth'])
    with pytest.raises(FileError, match=r"planes.npy: task 'depth' expects 1 channel\(s\), found shape \(3, 6, 8\)"):
        read_prediction(str(tmp_path / 'planes.npy'), tasks['depth'])


def test_kitti_flow_pictures(tasks, tmp_path):
    """Three 16-bit channels: u, v, validity."""
    flow = np.random.default_rng(0).integers(-300, 300, (5, 7, 2)) / 64
    stored = np.concatenate([flow * 64 + 32768, np.ones((5, 7, 1))], 2).astype(np.uint16)
    cv2.imwrite(str(tmp_path / 'flow.png'), stored[..., ::-1])
    found = read_prediction(str(tmp_path / 'flow.png'), tasks['optical_flow'], scale=1 / 64, offset=-512)
    np.testing.assert_array_equal(found, flow.transpose(2, 0, 1))


@pytest.mark.parametrize('name', ['0000000-flow_01.flo', '00001_flow.flo'])
def test_real_middlebury_files(tasks, shared_dir, name):
    path = shared_dir / 'data' / 'optical_flow' / 'mmflow' / 'tests' / 'data' / name
    raw = path.read_bytes()
    assert raw[:4] == b'PIEH'
    width, height = np.frombuffer(raw[4:12], '<i4')
    wanted = np.frombuffer(raw[12:], '<f4').reshape(height, width, 2)
    found = read_prediction(str(path), tasks['optical_flow'])
    np.testing.assert_array_equal(found, wanted.transpose(2, 0, 1))
    off = flow_metrics(flow_sums((found + np.float32([[[3]], [[4]]])).reshape(2, -1), found.reshape(2, -1)), 2)
    assert off['EPE'] == pytest.approx(5.0, rel=1e-6)


def test_folders_by_alias_and_ids_with_slashes(tasks, tmp_path):
    (tmp_path / 'sal' / 'town').mkdir(parents=True)
    value = np.full((4, 5), 51, np.uint8)
    cv2.imwrite(str(tmp_path / 'sal' / 'town' / 'a.png'), value)
    cv2.imwrite(str(tmp_path / 'sal' / 'b.png'), value * 2)
    folder = PredictionFolder(str(tmp_path), {'saliency': tasks['saliency']})
    assert folder.read('town/a', 'saliency').max() == 0.2 and folder.read('other/b', 'saliency').max() == 0.4


@pytest.mark.parametrize('kind', ['classes', 'probabilities'])
@pytest.mark.parametrize('count', [2, 3, 255])
def test_every_categorical_task_reads_what_it_wrote(tmp_path, kind, count):
    """255 is unknown in labels and never a class; two classes that others wrote as 0 and 255 are two classes."""
    if kind == 'probabilities':
        tasks = build_tasks({n: dict(type=t) for n, t in (('saliency', 'Saliency'), ('boundary', 'Boundary'))})
    else:
        tasks = build_tasks({'things': dict(type='SemanticSegmentation', classes=count)})
    rng = np.random.default_rng(count)
    for name, task in tasks.items():
        gt = rng.integers(0, len(task.classes), (24, 32))
        gt[:3] = 255
        pred = task.predict(torch.from_numpy(rng.normal(size=(1, task.out_channels, 24, 32)).astype(np.float32)))[
            0
        ].numpy()
        write_raw(str(tmp_path), 'a', {name: pred})
        again = PredictionFolder(str(tmp_path), {name: task}).read('a', name)
        metric = METRICS.build(task.default_metric())
        measured = [metric.measure(p.reshape(gt.shape) if p.dtype.kind == 'i' else p, gt) for p in (pred, again)]
        for key, value in measured[0].items():
            np.testing.assert_array_equal(measured[1][key], value, err_msg=f'{name} {key}')
        if kind == 'classes' and count == 2:
            (tmp_path / 'white' / name).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / 'white' / name / 'a.png'), pred[0].astype(np.uint8) * 255)
            white = PredictionFolder(str(tmp_path / 'white'), {name: task}).read('a', name)
            np.testing.assert_array_equal(white, pred[0])
