"""What all tests share: no network, few threads, and no state of mmengine left from one test to the next."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import threading
from collections import Counter
from pathlib import Path

for _name, _value in {'HF_HUB_OFFLINE': '1', 'OMP_NUM_THREADS': '1', 'MPLBACKEND': 'Agg'}.items():
    os.environ.setdefault(_name, _value)  # before the first import of torch, huggingface_hub and matplotlib

import cv2  # noqa: E402
import mmengine._strategy.base  # noqa: E402
import mmengine.config.config  # noqa: E402
import mmengine.runner.runner  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from mmengine.utils import ManagerMixin  # noqa: E402

from tests.tiny_config import tiny_config, trained  # noqa: E402, F401 - fixtures of every room's tests

ROOT = Path(__file__).resolve().parents[1]

THREADS = int(os.environ.get('MMMTL_TEST_THREADS', '1'))
"""More than one to see that results do not hang on it: ``make numerics``."""

MEASURED = 3
"""Parameters of a test with which coverage is measured."""

torch.set_num_threads(THREADS)
cv2.setNumThreads(1)


def _remember_what_every_run_repeats() -> None:
    """A run formats its config six times and asks the machine what it is: half of the time of a small training."""
    config, users = mmengine.config.config, (mmengine.runner.runner, mmengine._strategy.base)
    format_code, collect_env = config.FormatCode, functools.cache(users[0].collect_env)
    remembered = functools.lru_cache(256)(lambda text, style: format_code(text, style_config=dict(style)))
    config.FormatCode = lambda text, style_config: remembered(text, tuple(style_config.items()))
    for user in users:
        user.collect_env = lambda: collect_env().copy()


def _stop_tracing() -> None:
    """What a forked process does is not measured, and need not be as slow as if it were."""
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]


def _allow_forks() -> None:
    """Begin with autograd before anything is traced: tracing lends it devices with threads, and then forks cannot use it."""
    torch.zeros(1, requires_grad=True).sum().backward()


_allow_forks()
_remember_what_every_run_repeats()
os.register_at_fork(after_in_child=_stop_tracing)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, and measure coverage, which halves Python's speed, where it finds something.

    Slow tests and drills run lines that quick ones run too. So do, mostly, all but the first parameters of a test;
    those of the models' tests are networks, each with lines of its own.
    """
    measured: Counter[str] = Counter()
    for item in items:
        function = item.nodeid.partition('[')[0]
        measured[function] += 1
        again = measured[function] > MEASURED and not function.startswith(
            ('tests/test_models/', 'tests/test_configs.py')
        )
        if again or item.get_closest_marker('slow') or item.get_closest_marker('drill'):
            item.add_marker('no_cover')
    items.sort(key=lambda item: item.get_closest_marker('slow') is None)


def pytest_collection_finish() -> None:
    """Take what was imported out of the garbage collector's rounds, one of which every data set asks for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session')
def root_dir() -> Path:
    """Return the root of the repository."""
    return ROOT


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Return the folder of real data and reference numbers beside the repository, or skip the test."""
    folder = ROOT.parent / 'shared'
    if not folder.is_dir():
        pytest.skip(f'no folder {folder.name}/ with reference data beside the repository')
    return folder


def _managed_classes(base: type = ManagerMixin) -> list[type]:
    return [base, *(found for sub in base.__subclasses__() for found in _managed_classes(sub))]


def _forget_instances() -> None:
    """Empty mmengine's registries of instances: default scope, loggers (closing files), message hubs, visualizers."""
    for cls in _managed_classes():
        instances = cls.__dict__.get('_instance_dict', {})
        for instance in list(instances.values()):
            for handler in list(getattr(instance, 'handlers', [])):
                if isinstance(handler, logging.FileHandler):
                    handler.close()
                    instance.removeHandler(handler)
        instances.clear()


@pytest.fixture(autouse=True)
def clean_slate():
    """Start and leave every test with no instance, scope, dtype or determinism setting of another."""
    _forget_instances()
    yield
    _forget_instances()
    torch.set_default_dtype(torch.float32)
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(THREADS)


def pytest_terminal_summary(terminalreporter) -> None:
    """Print the table of the drills: here, because in a run in parallel processes the first one loads no other conftest."""
    from mmmtl.utils.tables import format_table

    table: dict[str, list[int]] = {}
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        for name, value in getattr(report, 'user_properties', ()):
            if name == 'drill' and report.when in ('call', 'teardown'):
                row = table.setdefault(value[0], [0, 0])
                row[:] = row[0] + value[1], row[1] + value[2]
    if table:
        rows = [[name, str(tries), str(survived)] for name, (tries, survived) in sorted(table.items())]
        terminalreporter.write_line('')
        terminalreporter.write_line(format_table(['drill', 'tries', 'survived'], rows, right=(1, 2)))
