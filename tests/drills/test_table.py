"""The table of the drills."""

from __future__ import annotations

from types import SimpleNamespace

from tests import conftest
from tests.drills import conftest as own


def test_the_table_is_printed(drill):
    """By the conftest of all tests: where parallel processes run the drills, the one that prints loads no other."""
    drill('the table is printed', not hasattr(own, 'pytest_terminal_summary'))
    reports = [SimpleNamespace(when='call', user_properties=[('drill', ['kills', 3, n])]) for n in (3, 2)]
    lines: list[str] = []
    conftest.pytest_terminal_summary(SimpleNamespace(stats=dict(passed=reports), write_line=lines.append))
    drill('the table is printed', ['kills', '6', '5'] in [line.split() for line in '\n'.join(lines).splitlines()])
