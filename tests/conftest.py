"""What all tests share: no network, few threads, and no state of mmengine left from one test to the next."""

from __future__ import annotations

import logging
import os
from pathlib import Path

for _name, _value in {'HF_HUB_OFFLINE': '1', 'OMP_NUM_THREADS': '1', 'MPLBACKEND': 'Agg'}.items():
    os.environ.setdefault(_name, _value)  # before the first import of torch, huggingface_hub and matplotlib

import cv2  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from mmengine.utils import ManagerMixin  # noqa: E402

from tests.tiny_config import tiny_config, trained  # noqa: E402, F401 - fixtures of every room's tests

ROOT = Path(__file__).resolve().parents[1]

THREADS = int(os.environ.get('MMMTL_TEST_THREADS', '1'))
"""More than one to see that results do not hang on it: ``make numerics``."""

torch.set_num_threads(THREADS)
cv2.setNumThreads(1)


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
