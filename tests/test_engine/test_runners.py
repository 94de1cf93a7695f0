"""Runs that start in the same second have names, log folders and histories of their own."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmmtl.engine.runners import NamedRunner, own_name
from tests.test_engine.toy import config


@pytest.fixture
def one_second(monkeypatch):
    monkeypatch.setattr(time, 'time', lambda: 1_790_000_000.0)


def test_two_runs_of_one_second_in_one_work_dir(tmp_path, one_second):
    """The second once wrote into the log and the history of the first."""
    first, second = (NamedRunner.from_cfg(config(tmp_path, 2)) for _ in range(2))
    assert second.timestamp == f'{first.timestamp}_2' and first.log_dir != second.log_dir
    assert first.message_hub is not second.message_hub and first.logger is not second.logger
    first.logger.warning('of the first')
    logs = {path.parent.name: path.read_text() for path in tmp_path.rglob('*.log')}
    assert set(logs) == {first.timestamp, second.timestamp}
    assert 'of the first' in logs[first.timestamp] and 'of the first' not in logs[second.timestamp]


def test_two_runs_of_one_second_in_two_work_dirs(tmp_path, one_second):
    """In one process they once shared a history: the best score of one was that of the other."""
    first, second = (NamedRunner.from_cfg(config(tmp_path / name, 2)) for name in 'ab')
    first.message_hub.update_info('best_score', 7.0)
    assert 'best_score' not in second.message_hub.runtime_info


def test_names_are_given_away_once(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: own_name(str(tmp_path), 'x'), range(16)))
    assert len(set(names)) == 16 == len(list(tmp_path.iterdir())) and 'x' in names and 'x_16' in names
