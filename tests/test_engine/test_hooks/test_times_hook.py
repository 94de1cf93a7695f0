"""Where the time of an evaluation goes, by part."""

from __future__ import annotations

import pytest

from mmmtl.apis.test import run_test
from mmmtl.config import load_config
from mmmtl.engine.hooks import TimesHook
from mmmtl.evaluation.metrics.pool import MeasurePool


@pytest.mark.parametrize('workers', [0, 1])
def test_parts_of_an_evaluation(trained, tmp_path, capsys, workers):
    cfg = load_config(str(trained.parent / 'tiny.py'), {'test_evaluator.workers': workers})
    checkpoint = str(trained / 'iter_4.pth')
    metrics, runner = run_test(
        cfg, checkpoint, str(tmp_path / 'work'), out=str(tmp_path / 'out'), show_dir=str(tmp_path / 'shown'), times=True
    )
    hook = next(h for h in runner.hooks if isinstance(h, TimesHook))
    assert hook.images == 3 and metrics
    assert all(hook.seconds[part] > 0 for part in ('load', 'network', 'resize', 'metrics', 'pictures'))
    printed = capsys.readouterr().out
    assert "of the network's time, 3 images" in printed
    assert ('metrics in worker processes' in printed) == bool(workers)
    assert 'timed' not in str(runner.model.predict), 'nothing is counted any longer'


def test_the_table_adds_up():
    hook = TimesHook()
    hook.images = 2
    hook.seconds.update(network=1.0, metrics=0.1, load=0.1)
    lines = hook.table(beside=0.1).splitlines()
    assert lines[-1] == "evaluation: 20.0 % of the network's time, 2 images"
    assert [line.split()[-3:] for line in lines if line.startswith('network')] == [['500.00', '83.3', '%']]


def work(number):
    return sum(range(number))


def test_workers_count_their_time():
    pool = MeasurePool(1)
    early = list(pool.submit('a', [('x', work, (10**6,))]))
    found = dict([*early, *pool.finish()])
    assert found == {'a': {'x': work(10**6)}} and pool.seconds > 0
