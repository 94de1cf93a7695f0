"""The data of the StableMTL configs, from miniatures of every set to batches of one task and the benchmarks."""

from __future__ import annotations

import copy

import numpy as np
import pytest

pytest.importorskip('h5py')

from mmmtl.config import load_config  # noqa: E402
from mmmtl.datasets.preparation.flyingthings3d import prepare_flyingthings3d  # noqa: E402
from mmmtl.datasets.preparation.hypersim import prepare_hypersim  # noqa: E402
from mmmtl.datasets.preparation.mid import prepare_mid  # noqa: E402
from mmmtl.datasets.preparation.normals_from_depth import prepare_vkitti2_normals  # noqa: E402
from mmmtl.errors import ConfigError  # noqa: E402
from mmmtl.registry import DATASETS, METRICS
from tests.miniatures.flyingthings3d import write_flyingthings3d  # noqa: E402
from tests.miniatures.hypersim import write_hypersim  # noqa: E402
from tests.miniatures.indoors import write_diode, write_mid  # noqa: E402
from tests.miniatures.streets import write_cityscapes, write_kitti2015, write_kitti_depth, write_vkitti2  # noqa: E402


@pytest.fixture(scope='module')
def cfg(root_dir):
    return load_config(str(root_dir / 'configs/stablemtl/benchmarks.py'))


@pytest.fixture(scope='module')
def benchmarks(cfg, tmp_path_factory):
    """The test set of the config on miniatures, its crops and sizes scaled down."""
    root = tmp_path_factory.mktemp('benchmarks')
    write_cityscapes(root / 'Cityscapes')
    write_diode(root / 'DIODE')
    write_kitti_depth(root / 'KITTIDepth')
    write_kitti2015(root / 'KITTI2015')
    write_mid(root / 'raw')
    prepare_mid(root / 'raw', root / 'MIDIntrinsics', progress=False)
    config = copy.deepcopy(cfg.test_dataloader.dataset)
    for part in config.datasets:
        part.data_root = str(root / part.type)
        if 'KITTI' in part.type:
            part.crop = (32, 80)
        if 'split_file' in part:
            part.split_file = 'eigen.txt'
        for step in part.pipeline:
            if step.type == 'ResampleNearest':
                step['size'] = tuple(n // 32 * 4 for n in step['size'])
    return config


def predicted(sample, tasks, change: float):
    """The label as prediction, up to what the alignment takes away, wrong by ``change``."""
    rng = np.random.default_rng(0)
    pred = {}
    for name, label in sample.gt.items():
        values = np.nan_to_num(np.asarray(label, np.float64))
        if tasks[name].categorical:
            classes = values.astype(np.int64).clip(0, 7)
            pred[name] = np.where(rng.random(classes.shape) < change, (classes + 1) % 8, classes)
            continue
        pred[name] = (values + change * values.std() * rng.normal(size=values.shape)).astype(np.float32)
    return pred


@pytest.mark.parametrize('change', [0.0, 0.2])
def test_benchmarks(cfg, benchmarks, change):
    data, metric = DATASETS.build(benchmarks), METRICS.build(cfg.test_evaluator)
    metric.dataset_meta = data.metainfo
    counts: dict[str, int] = {}
    for packed in data:
        sample = packed['data_samples']
        part = sample.sample_id.split('/')[0]
        counts[part] = counts.get(part, 0) + 1
        assert sample.ori_shape == tuple(packed['inputs'].shape[-2:])
        assert all(label.shape[-2:] == sample.ori_shape for _, label in sample.gt.items())
        assert packed['inputs'].ndim == (4 if part == 'kitti2015' else 3)
        maps = {name: label.numpy() if hasattr(label, 'numpy') else label for name, label in sample.gt.items()}
        metric.process({}, [dict(sample_id=sample.sample_id, gt=maps, pred=predicted(sample, data.tasks, change))])
    assert counts == dict(cityscapes=3, diode=2, kitti=3, kitti2015=2, mid=4)
    figures = metric.evaluate(len(data))
    assert set(figures) <= set(metric.greater_is_better)
    reference = cfg.test_evaluator.reference
    assert set(reference) <= set(figures)
    if change == 0:
        assert figures['cityscapes/semseg/mIoU'] == 1
        for name in list(reference)[1:]:
            assert figures[name] < 0.1, name  # degrees, shares, pixels, metres
    want = np.mean([(figures[k] / v - 1) * (100 if 'mIoU' in k else -100) for k, v in reference.items()])
    assert figures['delta_m'] == pytest.approx(want)
    assert ('diode/depth/relErr_upstream' in figures) and ('mid/shading/RMSE_upstream' in figures)


def test_a_part_of_the_benchmarks(cfg, benchmarks, capsys):
    """Sets that are not at hand are left out; the gain is the mean over the others."""
    metric = METRICS.build(cfg.test_evaluator)
    sample = DATASETS.build(benchmarks.datasets[0])[0]['data_samples']
    maps = {name: label.numpy() for name, label in sample.gt.items()}
    metric.process({}, [dict(sample_id=sample.sample_id, gt=maps, pred={'semseg': maps['semseg'].clip(0, 7)})])
    figures = metric.evaluate(2)
    assert {name.split('/')[0] for name in figures} == {'cityscapes', 'delta_m'}
    assert figures['delta_m'] == pytest.approx((1 / 0.4817 - 1) * 100)
    told = ''.join(capsys.readouterr())
    assert 'Δm leaves out diode/normals/mErr_upstream, ' in told
    assert 'BenchmarkMetric saw 1 distinct sample ids, the dataset has 2 samples' in told
    with pytest.raises(ConfigError, match="'kiti' is not a benchmark.*Did you mean 'kitti'.*PrefixSampleId"):
        metric.process({}, [dict(sample_id='kiti/1', gt={}, pred={})])
    with pytest.raises(ConfigError, match="reference: 'mid/albedo/RMS' is no metric.*Did you mean 'mid/albedo/RMSE"):
        METRICS.build(dict(cfg.test_evaluator, reference={'mid/albedo/RMS': 1.0}))


def test_training_batches(cfg, tmp_path):
    """Every row of the recipe gives batches of its size with the label of one task."""
    from mmmtl.engine.task_cycle import TaskCycleBatchSampler

    write_hypersim(tmp_path / 'raw')
    prepare_hypersim(tmp_path / 'raw', tmp_path / 'hypersim', progress=False)
    write_vkitti2(tmp_path / 'vkitti')
    prepare_vkitti2_normals(tmp_path / 'vkitti', progress=False)
    _, camera = write_flyingthings3d(tmp_path / 'things_raw')
    prepare_flyingthings3d(tmp_path / 'things_raw', tmp_path / 'things', progress=False, camera=camera)
    config = copy.deepcopy(cfg.train_dataloader)
    roots = dict(Hypersim='hypersim/train', VKITTI2='vkitti', FlyingThings3D='things')
    for part in config.dataset.datasets:
        part.data_root, part.split_file = str(tmp_path / roots[part.type]), None
        if part.type == 'FlyingThings3D':
            part.update(crop=(36, 60), camera=camera)
        if part.type == 'VKITTI2' and 'semseg' in part.tasks:
            part.split_file = str(tmp_path / 'semseg.txt')
            (tmp_path / 'semseg.txt').write_text(
                'original/Scene02/clone/frames/classSegmentation/Camera_0/classgt_00000.png'
            )
    data = DATASETS.build(config.dataset)
    shares = config.batch_sampler.shares
    stream = iter(TaskCycleBatchSampler(dataset=data, batch_size=1, seed=0, accumulation=2, shares=shares))
    sizes = {
        'albedo': {(288, 384)},
        'shading': {(288, 384)},
        'depth': {(288, 384), (187, 621)},
        'normals': {(288, 384), (187, 621)},
        'semseg': {(187, 621)},
        'optical_flow': {(187, 621), (268, 480)},
        'scene_flow': {(187, 621), (268, 480)},
    }
    seen: dict[str, set] = {}
    order = []
    for _ in range(2 * 7 * 2):
        (index,) = next(stream)
        packed = data[index]
        (task,) = packed['data_samples'].labeled_tasks
        order.append(task)
        assert packed['inputs'].ndim == (4 if task.endswith('flow') else 3)
        seen.setdefault(task, set()).add(tuple(packed['inputs'].shape[-2:]))
    assert order[:14:2] == order[1:14:2] == list(sizes)
    assert all(seen[task] <= sizes[task] for task in sizes)


@pytest.mark.slow
def test_benchmarks_of_a_network(cfg, benchmarks, root_dir, tmp_path, capsys):
    """The command's way, with a small network as drawn: single frames and pairs, sizes and tasks of every set."""
    pytest.importorskip('diffusers')
    from mmengine.config import Config

    from mmmtl.apis import test

    small = Config.fromfile(root_dir / 'configs/_base_/models/latent_tiny.py')
    config = copy.deepcopy(cfg)
    config.model = dict(small.model, tasks=config.tasks)
    config.test_dataloader.update(dataset=copy.deepcopy(benchmarks), num_workers=0, persistent_workers=False)
    figures = test(config, None, str(tmp_path))
    assert {name.rsplit('/', 1)[0] for name in figures} == {
        'cityscapes/semseg',
        'diode/depth',
        'diode/normals',
        'kitti/depth',
        'kitti2015/optical_flow',
        'kitti2015/scene_flow',
        'mid/albedo',
        'mid/shading',
        'delta_m',
    }
    assert all(np.isfinite(value) for value in figures.values())
    assert 'kitti2015/optical_flow' in capsys.readouterr().out
