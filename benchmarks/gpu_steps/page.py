"""``docs/results/gpu.md`` out of the files of a run, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmmtl.utils.tables import markdown_table

TITLES = {
    'golden': 'Recorded runs replayed',
    'models': 'Networks',
    'kernels': 'Kernels against their plain expressions',
    'training': 'Training',
    'loader': 'Data loader',
}


def number(value: Any) -> str:
    """A cell."""
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.3g}' if abs(value) < 1000 else f'{value:.0f}'
    if isinstance(value, (list, tuple)):
        return '; '.join(map(str, value))
    return '' if value is None else str(value)


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; columns in the order in which they first come."""
    rows = list(rows)
    columns: Sequence[str] = list(dict.fromkeys(key for row in rows for key in row))
    return markdown_table(columns, [[number(row.get(c)) for c in columns] for row in rows])


def page(results: Mapping[str, Any]) -> str:
    """The page.

    Args:
        results: ``{step: content of its file}``.

    Raises:
        ValueError: There is no result of a device, or the run was small.
    """
    run, machine = results.get('run', {}), results.get('machine', {}).get('rows', [])
    if not machine:
        raise ValueError('no machine.json with a row: nothing was measured')
    if run.get('tiny') or not str(run.get('device', '')).startswith('cuda'):
        raise ValueError('this run was on a CPU or small (--tiny): its numbers say nothing about a GPU')
    parts = [
        '# On a GPU',
        'Measured by `python benchmarks/gpu.py --minutes 9 --out DIR` and written by `python benchmarks/gpu.py --page DIR`.\n'
        'Times are medians in milliseconds; a step that was ended by its share of the time says so.',
        table(machine[:1]),
        table(row for row in machine[1:]),
    ]
    for step, title in TITLES.items():
        found = results.get(step)
        if not found or not found['rows']:
            parts.append(f'## {title}\n\nNot measured.')
            continue
        cut = '' if found['finished'] else ' Ended before all was measured.'
        parts.append(f'## {title}\n\n{found["seconds"]:.0f} s.{cut}')
        good, bad = ([r for r in found['rows'] if ('error' in r) is wrong] for wrong in (False, True))
        parts += [table(rows) for rows in (good, bad) if rows]
    return '\n\n'.join(parts) + '\n'
