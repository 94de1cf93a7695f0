"""Timing in turns, memory, parts, and a network beside the transcription of its method."""

from __future__ import annotations

import sys
import time

import pytest
import torch
from mmengine.config import Config

from benchmarks.reference.match import Pair, count_reference, setting_of
from benchmarks.reference.match_diffusionmtl import DiffusionPair
from mmmtl.analysis.benchmark import (
    Benchmark,
    Speed,
    interleaved,
    matmul_peak,
    part_times,
    parts_table,
    peak_memory,
    random_targets,
)
from mmmtl.analysis.complexity import count_complexity
from mmmtl.errors import ConfigError
from mmmtl.tasks import IGNORE

EXPERTS = dict(
    conditions=dict(type='MLoREConditions', grid=(2, 3), ranks=[2, 3, 4], topk=2, own_rank=4), aux='level_mask'
)


def config(**decoder):
    tasks = dict(
        semseg=dict(type='SemanticSegmentation', classes=5),
        saliency=dict(type='Saliency', loss_weight=5.0),
        normals=dict(type='SurfaceNormals', loss_weight=10.0),
        boundary=dict(type='Boundary'),
    )
    return Config(
        dict(
            tasks=tasks,
            model=dict(
                type='MultiTaskModel',
                tasks=tasks,
                neck=dict(type='LevelProjection', channels=16),
                backbone=dict(
                    type='TimmBackbone',
                    model_name='vit_tiny_patch16_224',
                    img_size=(32, 48),
                    embed_dim=24,
                    depth=4,
                    num_heads=3,
                ),
                decoder=dict(type='TaskDiffusionDecoder', label_encoder=dict(separate=('saliency',)), **decoder),
            ),
        )
    )


@pytest.mark.parametrize('mode', ['predict', 'train'])
@pytest.mark.parametrize('decoder', [{}, EXPERTS], ids=['plain', 'experts'])
def test_network_equals_its_transcription(mode, decoder):
    bench = Benchmark(config(**decoder), mode, batch=2)
    pair = Pair(bench.model, bench.inputs, bench.targets)
    expected, found = pair.run_reference(), bench.run(pair.draws())
    if mode == 'predict':
        differences = pair.compare_predictions(found, expected)
        assert max(differences.values()) < 1e-5
    else:
        differences = pair.compare_steps(found, expected)
        assert differences['loss, relative'] < 1e-6
        assert differences['gradients, relative L2'] < 2e-4
    assert set(pair.names) == {'semseg', 'sal', 'normals', 'edge'}


def diffusionmtl(mode):
    tasks = dict(
        semseg=dict(type='SemanticSegmentation', classes=5),
        saliency=dict(type='Saliency', loss_weight=5.0),
        normals=dict(type='SurfaceNormals', loss_weight=10.0),
        boundary=dict(type='Boundary'),
    )
    return Config(
        dict(
            tasks=tasks,
            model=dict(
                type='MultiTaskModel',
                tasks=tasks,
                backbone=dict(type='TimmBackbone', model_name='resnet18'),
                neck=dict(type='ConcatFusion', channels=16, stride=8),
                decoder=dict(type='DiffusionMTLDecoder', mode=mode, denoiser=dict(type='CrossDenoiser', hidden=24)),
            ),
        )
    )


@pytest.mark.parametrize('mode', ['predict', 'train'])
@pytest.mark.parametrize('variant', ['feature', 'prediction'])
def test_diffusionmtl_equals_its_transcription(mode, variant):
    bench = Benchmark(diffusionmtl(variant), mode, (64, 64), batch=5, one_label=True)
    assert {n: i.tolist() for n, (i, _) in bench.targets.items()} == {
        'semseg': [0, 4],
        'saliency': [1],
        'normals': [2],
        'boundary': [3],
    }
    pair = DiffusionPair(bench.model, bench.inputs, bench.targets)
    expected, found = pair.run_reference(), bench.run(pair.draws())
    if mode == 'predict':
        assert max(pair.compare_predictions(found, expected).values()) < 1e-4
        assert 'in the convention of fvcore' in pair.work()
    else:
        differences = pair.compare_steps(found, expected)
        assert differences['loss, relative'] < 1e-6
        assert differences['gradients, relative L2'] < 2e-4


def test_transcription_of_diffusionmtl_is_of_a_resnet():
    cfg = diffusionmtl('feature')
    cfg.model.backbone.model_name = 'resnet34'
    bench = Benchmark(cfg, 'predict', (64, 64))
    with pytest.raises(ConfigError, match='not of resnet34'):
        DiffusionPair(bench.model, bench.inputs, bench.targets)


def test_comparison_notices_a_difference():
    bench = Benchmark(config(), 'predict')
    pair = Pair(bench.model, bench.inputs, bench.targets)
    expected, found = pair.run_reference(), bench.run(pair.draws())
    found['semseg'] = found['semseg'].flip(1)
    differences = pair.compare_predictions(found, expected)
    assert differences['relative L2'] > 0.1
    assert differences['share of argmax that differs'] > 0.01


def test_measurement_counts_what_the_network_does():
    bench = Benchmark(config(), 'predict', batch=2)
    speed, others = bench.measure(2, {'other': lambda: None})
    assert len(speed.seconds) == len(others['other']) == 2
    assert speed.flops > 0
    assert speed.peak > 1e9
    assert {'backbone', 'neck', 'decoder.conditions', 'decoder.denoiser', 'everything else'} <= set(speed.parts)
    assert 'decoder.aux_heads' not in speed.parts
    text = '\n'.join(speed.lines('net'))
    assert 'of the peak of' in text
    assert 'backbone' in parts_table(speed.parts)


def test_training_memory_is_without_the_gradients():
    bench = Benchmark(config(), 'train')
    bench.run()
    assert all(p.grad is not None for p in bench.model.parameters())
    assert isinstance(bench.measure_memory(), int)


def test_autocast_and_compiled_networks_run():
    bench = Benchmark(config(), 'predict', amp=True)
    assert bench.run()['semseg'].dtype == torch.float32
    with pytest.raises(ConfigError, match='predict'):
        Benchmark(config(), 'eval')


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_peak_memory_sees_a_large_tensor():
    def run():
        big = torch.ones(32, 2**20)
        time.sleep(0.02)
        del big

    assert 100e6 < peak_memory(run) < 250e6


def test_runs_are_measured_in_turns():
    order = []
    seconds = interleaved({'a': lambda: order.append('a'), 'b': lambda: order.append('b')}, 2, warmup=1)
    assert order == ['a', 'b', 'a', 'b', 'a', 'b']
    assert all(len(s) == 2 for s in seconds.values())
    assert Speed([3.0, 1.0, 2.0], 0).median == 2.0
    assert matmul_peak(size=256) > 1e8


def test_random_targets_have_the_form_of_labels():
    bench = Benchmark(config(), 'train')
    targets = random_targets(bench.model.tasks, (32, 48), 3)
    for name, (index, label) in targets.items():
        task = bench.model.tasks[name]
        assert index.tolist() == [0, 1, 2]
        for one in label.numpy():
            task.check_label(one, name)
        unknown = (label == IGNORE) if task.categorical else torch.isnan(label)
        assert 0.05 < unknown.float().mean() < 0.2


def test_part_times_add_up_to_the_whole():
    bench = Benchmark(config(), 'predict')
    start = time.perf_counter()
    parts = part_times(bench.model, bench.run)
    assert 0 < sum(parts.values()) < time.perf_counter() - start


def test_reference_counts_more_than_the_network():
    bench = Benchmark(config(), 'predict')
    counts, own = count_reference(setting_of(bench.model, (32, 48))), count_complexity(config(), (32, 48)).total()
    assert counts.layers > own.layers
    assert counts.parameters - 24 == own.parameters - own.auxiliary, 'a position embedding for the class token'
    assert counts.discarded > 0
