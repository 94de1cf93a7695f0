"""Plans: the counted numbers, and the formulas checked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmmtl.analysis.complexity import count_complexity
from mmmtl.analysis.plan import Workload, bytes_sent, plan_report, step_of, workload_of
from mmmtl.config import load_config
from mmmtl.errors import ConfigError
from tests.tiny_config import write_config

WORK = Workload(operations=10**12, trained=1000, frozen=500, sample_bytes=10, batch=2, made_for=4, iterations=100)


def test_bytes_of_an_update():
    """Ring all-reduce: 2 * 3/4 * 1000 numbers of 4 bytes; sharded: 3/4 * (1500 + 1500 + 1000) numbers."""
    assert bytes_sent(WORK, 4, False) == 6000
    assert bytes_sent(WORK, 4, True) == 12000
    assert bytes_sent(WORK, 1, False) == bytes_sent(WORK, 1, True) == 0


def test_time_of_an_update():
    step = step_of(WORK, 4, False, speed=1e12, bandwidth=2000.0)
    assert (step.computing, step.sending, step.hidden, step.exposed) == (2.0, 3.0, 3.0, 5.0)
    assert step.state == 4 * 4500 and step_of(WORK, 4, True, 1e12, 2000.0).state == 4 * 4500 / 4


def test_a_config_is_counted(tmp_path):
    cfg = load_config(write_config(tmp_path))
    work = workload_of(cfg)
    whole = count_complexity(cfg).total()
    assert work.operations == 6 * (whole.layers + whole.products) > 0
    assert work.trained + work.frozen == whole.parameters and work.trained > 0
    assert work.sample_bytes == 32 * 32 * (3 + 1 + 4 + 1)  # a picture, classes, depth, boundaries
    assert work.batch == 2 and work.iterations == 4
    text = plan_report(cfg, 8, tflops=1.0, bandwidth=1.0, utilization=0.5)
    assert '4 updates on 8 GPUs' in text and 'Assumptions' in text
    rows = [line.split() for line in text.splitlines() if ' DDP ' in f' {line} ']
    assert [row[0] for row in rows if row[0].isdigit()] == ['1', '2', '4', '8']


def test_a_larger_total_batch_is_told(tmp_path):
    cfg = load_config(write_config(tmp_path))
    cfg.auto_scale_lr = dict(base_batch_size=4)
    text = plan_report(cfg, 8, tflops=1.0, bandwidth=1.0)
    assert 'Total batch 16, and the config is made for 4' in text and '1 updates on 8 GPUs' in text


def test_few_gpus_add_up_gradients_to_the_total_batch(tmp_path):
    """As the training does it, unless the config says how many batches make an update."""
    work = replace(WORK, made_for=12, gathers=True)
    assert [work.on(gpus).batch for gpus in (1, 2, 3, 4, 6, 8)] == [12, 6, 4, 2, 2, 2]
    cfg = load_config(write_config(tmp_path))
    cfg.auto_scale_lr = dict(base_batch_size=16)
    text = plan_report(cfg, 2, tflops=1.0, bandwidth=1.0)
    assert '8 images per GPU and update' in text and '4 updates on 2 GPUs' in text
    cfg.train_cfg.accumulation = 3
    assert '6 images per GPU and update' in plan_report(cfg, 2, tflops=1.0, bandwidth=1.0)


@pytest.mark.parametrize('numbers', [(0, 1.0, 1.0, 0.4), (8, -1.0, 1.0, 0.4), (8, 1.0, 0.0, 0.4), (8, 1.0, 1.0, 1.5)])
def test_bad_numbers(tmp_path, numbers):
    with pytest.raises(ConfigError, match='plan: .*(above 0|at most 1)'):
        plan_report(load_config(write_config(tmp_path)), *numbers)
