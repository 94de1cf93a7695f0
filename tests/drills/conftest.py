"""Every drill says how often it tried and how often the promise held; ``tests/conftest.py`` prints the table.

``MMMTL_DRILL_FULL=1`` runs the drills in full length.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.test_engine.toy import config, train

FULL = os.environ.get('MMMTL_DRILL_FULL') == '1'


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if 'drills' in item.path.parts:
            item.add_marker(pytest.mark.drill)


@pytest.fixture(scope='session', autouse=True)
def warm(tmp_path_factory) -> None:
    """What every first training imports and compiles is there before processes are forked."""
    train(config(tmp_path_factory.mktemp('warm'), 2))


@pytest.fixture()
def drill(record_property) -> Iterator[Callable[[str, bool], None]]:
    """Call it once per try with the name of the drill and whether the promise held; a drill fails with its first failure."""
    tries: dict[str, list[bool]] = {}
    yield lambda name, survived: tries.setdefault(name, []).append(bool(survived))
    for name, results in tries.items():
        record_property('drill', [name, len(results), sum(results)])
    assert tries, 'a drill without tries'
    assert all(all(results) for results in tries.values()), tries
