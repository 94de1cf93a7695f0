"""How costs grow: laws are fitted, counts follow the method's law, and a part's bound is what its counts say."""

from __future__ import annotations

import json

import pytest
from mmengine.config import Config

from mmmtl.analysis import scaling
from mmmtl.analysis.benchmark import Benchmark
from mmmtl.analysis.complexity import Part, count_complexity
from mmmtl.analysis.roofline import copy_bandwidth, roofline, roofline_table
from mmmtl.config import load_config
from mmmtl.errors import ConfigError

OPTIONS = {
    'crop_size': (32, 32),
    'model.backbone.depth': 4,
    'model.backbone.embed_dim': 16,
    'model.neck.channels': 16,
    'only_tasks': ['semseg', 'depth', 'boundary', 'saliency'],
}


@pytest.fixture
def small(root_dir):
    return str(root_dir / 'configs/taskdiffusion/vitt_diorama.py')


def test_a_polynomial_is_found_again():
    found, r2 = scaling.fit([1, 2, 3, 4, 5], [3 + 2 * n + 0.5 * n * n for n in (1, 2, 3, 4, 5)], (0, 1, 2))
    assert found == pytest.approx([3, 2, 0.5]) and r2 == pytest.approx(1)
    assert scaling.fit([1, 2, 3], [1, 5, 1], (0, 1))[1] < 0.1


@pytest.mark.parametrize('axis', ['levels', 'tasks'])
def test_convolutions_grow_as_the_method_says(small, axis):
    """What is called grows from point to point by what the law of TaskDiffusion says, in every axis alike."""
    counted, law = [], []
    base = load_config(small, OPTIONS)
    points = scaling.variants(base, axis, small)
    for _, more, _ in points[axis == 'tasks' :][
        :3
    ]:  # a single task has no relations, and goes without their convolutions
        cfg = load_config(small, {**OPTIONS, **more})
        names, levels = len(cfg.model.tasks), len(cfg.model.backbone.get('out_indices', range(4)))
        with scaling.plain_operations():
            counted.append(count_complexity(cfg, (32, 32)).parts)
        law.append(scaling.law_of('TaskDiffusionDecoder', names, levels, cfg.model.decoder['steps']))
    calls = [sum(p.convolutions for p in parts.values()) for parts in counted]
    steps = [b - a for a, b in zip(calls, calls[1:])]
    assert len(set(steps)) == 1 and steps[0] > 0
    assert len({b - a for a, b in zip(law, law[1:])}) == 1


def test_the_report_is_a_page_a_plot_and_numbers(small, tmp_path, monkeypatch):
    out, every = tmp_path / 'scaling.md', scaling.variants
    monkeypatch.setattr(scaling, 'variants', lambda *a: every(*a)[:3])
    text = scaling.scaling_report(small, ['steps'], str(out), options=OPTIONS, repeats=1)
    assert out.read_text() == text and '## Steps: a + b n' in text and '(scaling.png)' in text
    assert (tmp_path / 'scaling.png').read_bytes()[:4] == b'\x89PNG'
    found = json.loads((tmp_path / 'scaling.json').read_text())['steps']
    assert [p['value'] for p in found['points']] == [1, 2, 3] == [p['steps'] for p in found['points']]
    assert found['fits']['gmac'][1] == pytest.approx(1, abs=1e-6), 'every step costs the same'


def test_axes_that_a_config_does_not_have_are_told(root_dir):
    plain = str(root_dir / 'configs/baselines/r18_diorama.py')
    for axis, word in (('steps', 'no number of steps'), ('levels', 'needs a ViT')):
        with pytest.raises(ConfigError, match=word):
            scaling.variants(load_config(plain), axis, plain)


def test_laws_of_methods():
    assert scaling.law_of('TaskDiffusionDecoder', 5, 4, 3) == 2 * 5 * 4 + 2 * 5 * 3 + 3 * 4 * 3
    assert scaling.law_of('LatentMultiTaskModel', 7, 1, 1) == 16
    assert scaling.law_of('PlainDecoder', 3, 4, 1) is None


def test_a_part_is_bound_by_operations_or_bytes():
    parts = {'a': Part(layers=10**9, moved=10**6), 'b': Part(moved=10**9), 'between the parts': Part()}
    text = roofline_table({'a': 0.04, 'b': 0.2, 'everything else': 0.01}, parts, peak=1e11, bandwidth=1e10)
    lines = {line.split()[0]: line.split() for line in text.splitlines()}
    assert lines['a'] == ['a', '40.0', '1.00', '50', '1', '0', '20.0', '50']
    assert lines['b'] == ['b', '200.0', '0.00', '0', '1000', '50', '100.0', '50']
    assert lines['total'][1] == '250.0' and lines['total'][-1] == '48'


def test_roofline_of_a_network(small):
    text = roofline(Benchmark(load_config(small, OPTIONS), size=(32, 32)))
    assert 'GFLOP/s' in text and 'decoder.denoiser' in text and 'everything else' in text
    assert copy_bandwidth(size=2**20) > 1e6


def test_bytes_are_those_of_the_operators():
    """A 1x1 patch embedding of known size: what it reads and writes is counted, a view is not."""
    cfg = Config(
        dict(
            model=dict(
                type='MultiTaskModel',
                tasks=dict(depth=dict(type='Depth')),
                backbone=dict(type='TimmBackbone', model_name='resnet18', out_indices=(1,)),
                decoder=dict(type='PlainDecoder', channels=8, num_blocks=1),
            )
        )
    )
    small, large = (count_complexity(cfg, (s, s)).parts['backbone'] for s in (32, 64))
    assert small.convolutions == large.convolutions == 4
    assert 2.5 < large.moved / small.moved < 4, 'maps grow fourfold, weights stay'
