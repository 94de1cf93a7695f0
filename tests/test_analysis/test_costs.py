"""The table of costs: counts, times, the methods of a config."""

from __future__ import annotations

import json

import pytest

from mmmtl.analysis.benchmark_report import measure
from mmmtl.analysis.complexity import count_complexity
from mmmtl.analysis.costs import catalogue_table, costs_of
from mmmtl.config import load_config


def test_costs_are_those_of_the_counter(tiny_config):
    whole = count_complexity(load_config(tiny_config)).total()
    costs = costs_of(tiny_config)
    assert (costs.parameters, costs.layers, costs.products) == (whole.parameters, whole.layers, whole.products)
    assert costs.seconds is None and costs.cells()[-2:] == ['-', '-']


def test_catalogue_of_one_config(tiny_config, tmp_path, capsys):
    out = tmp_path / 'costs.json'
    measure(tiny_config, repeats=1, catalogue=True, out=str(out))
    (name, found), *_ = json.loads(out.read_text()).items()
    assert found['seconds'] > 0 and found['memory'] > 0
    assert name in capsys.readouterr().out


def test_catalogue_names_every_method(root_dir, monkeypatch):
    asked = []
    costs = costs_of(str(root_dir / 'configs/methods/vitt_diorama.py'))
    monkeypatch.setattr('mmmtl.analysis.costs.costs_of', lambda *args, **_: asked.append(args) or costs)
    table, found = catalogue_table(repeats=0, size=(64, 64))
    assert set(found) == set(load_config(str(root_dir / 'configs/methods/vitt_diorama.py')).networks)
    assert {a[1]['method'] for a in asked} == set(found) and all(a[1]['size'] == (64, 64) for a in asked)
    assert len(table.splitlines()) == len(found) + 2


@pytest.mark.parametrize('method', ['invpt', 'taskprompter', 'demt'])
def test_attention_is_counted_apart(root_dir, method):
    costs = costs_of(str(root_dir / 'configs/methods/vitt_diorama.py'), {'method': method, 'size': (64, 64)})
    assert costs.layers > costs.products > 0


def test_memory_is_that_of_each_network(root_dir):
    """A network takes as much first and last in a process."""
    path = str(root_dir / 'configs/methods/vitt_diorama.py')
    first, second = (costs_of(path, {'method': 'plain', 'size': (64, 64)}, repeats=1).memory for _ in range(2))
    assert first / 2 < second < 2 * first
