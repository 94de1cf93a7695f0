"""Runs against references and against each other, as tables."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict

from tqdm import tqdm

from mmmtl.analysis.comparison import Difference, compare_runs, delta_m_of_runs
from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.delta_m import delta_m, mean_and_std
from mmmtl.evaluation.metrics.references import greater_is_better_of, read_metrics, read_reference
from mmmtl.utils.files import write_json
from mmmtl.utils.tables import format_table


def delta_m_table(runs: Sequence[str], reference: str, metrics: Sequence[str] | None = None, rows: bool = False) -> str:
    """Δm of runs (mean ± standard deviation over several), by metric.

    Args:
        runs: Work dirs or ``metrics.json`` files.
        reference: See :func:`~mmmtl.evaluation.metrics.references.read_reference`.
        metrics: Only these of the reference's metrics.
        rows: Add the further rows of the reference, recomputed.
    """
    against = read_reference(reference)
    unknown = sorted(set(metrics or ()) - set(against.metrics))
    if unknown:
        raise ConfigError(f'the reference has no {unknown}; it has {sorted(against.metrics)}')
    chosen = {name: against.metrics[name] for name in metrics or against.metrics}
    text = [f'reference: {against.name}' + (f' ({against.source})' if against.source != against.name else '')]
    if runs:
        gains, values = delta_m_of_runs(runs, against, list(chosen))
        table = []
        for name, value in chosen.items():
            mean, deviation = values[name]
            gain = mean_and_std([g.gains[name] for g in gains])
            table.append([name, _plus_minus(mean, deviation), f'{value:.4f}', _plus_minus(*gain, sign=True)])
        table.append(['delta_m', '', '', _plus_minus(*mean_and_std([g.value for g in gains]), sign=True)])
        title = 'value' if len(runs) == 1 else f'mean of {len(runs)} runs'
        text.append(format_table(['metric', title, 'reference', 'gain %'], table, right=(1, 2, 3)))
    if rows or not runs:
        table = []
        for name, (row, printed) in against.rows.items():
            found = delta_m(row, chosen, greater_is_better_of(list(chosen))).value
            table.append([name, f'{found:+.2f}', '' if printed is None else f'{printed:+.2f}'])
        if not table:
            raise ConfigError(f'{reference} holds no further rows; name a run to compare with it')
        text.append(format_table(['row', 'delta_m', 'printed'], table, right=(1, 2)))
    return '\n\n'.join(text)


def comparison_table(run_a: str, run_b: str, resamples: int = 1000, seed: int = 0, out: str | None = None) -> str:
    """Every metric of two runs, or of two sets of seeds (comma-separated), with intervals of the difference.

    Args:
        run_a, run_b: Work dirs.
        resamples: Of the images.
        seed: Of the resampling.
        out: JSON file for the numbers.
    """
    sides = [[run for run in side.split(',') if run] for side in (run_a, run_b)]
    found = compare_runs(
        sides[0], sides[1], resamples, seed, lambda steps: tqdm(steps, desc='resampling images', delay=5)
    )
    if out is not None:
        write_json(out, {name: _plain(d) for name, d in found.items()})
    rows = [
        [
            name,
            _plus_minus(d.a, d.std_a),
            _plus_minus(d.b, d.std_b),
            f'{d.difference:+.4f}',
            '' if math.isnan(d.low) else f'[{d.low:+.4f}, {d.high:+.4f}]',
            '' if math.isnan(d.p) else f'{d.p:.3f}',
            _verdict(d),
        ]
        for name, d in found.items()
    ]
    table = format_table(['metric', 'A', 'B', 'A - B', '95 % interval', 'p', ''], rows, right=(1, 2, 3, 4, 5))
    names = [', '.join(os.path.normpath(run) for run in side) for side in sides]
    notes = [f'A: {names[0]}', f'B: {names[1]}']
    alone = {name for side in sides for run in side for name in read_metrics(run)} - set(found)
    if alone:
        notes.append(f'not in all of these runs, and left out: {", ".join(sorted(alone))}')
    if any(math.isnan(d.p) for d in found.values()):
        notes.append('no interval: metrics whose states are not recorded, or runs without records.npz')
    return '\n'.join([*notes, '', table])


def _plain(d: Difference) -> dict[str, object]:
    """The numbers for a JSON file, which knows no NaN."""
    values = dict(asdict(d), difference=d.difference)
    return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in values.items()}


def _plus_minus(mean: float, deviation: float, sign: bool = False) -> str:
    text = f'{mean:+.2f}' if sign else f'{mean:.4f}'
    return text + (f' ± {deviation:.2f}' if sign else f' ± {deviation:.4f}') if deviation else text


def _verdict(d: Difference) -> str:
    """Which side is better, where zero lies outside the interval."""
    if d.greater_is_better is None or math.isnan(d.low) or d.low <= 0.0 <= d.high:
        return ''
    return 'A better' if (d.difference > 0) == d.greater_is_better else 'B better'
