"""What the rows of a study cost, how sure their Δm is, and the picture of both."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmmtl.evaluation.functional.delta_m import delta_m
from mmmtl.utils.files import write_atomically, write_json

from .costs import HEADER, Costs, costs_of
from .study_runs import settings_of_row

if TYPE_CHECKING:
    from .study import Study


def delta_interval(
    runs: Sequence[Mapping[str, float]],
    reference: Sequence[Mapping[str, float]],
    better: Mapping[str, bool],
    resamples: int = 2000,
) -> tuple[float, float]:
    """95 % bootstrap interval of the mean Δm: seeds of the row and of the reference are drawn with replacement.

    Args:
        runs, reference: Metrics of every seed.
        better: The metrics that count, and whether they should be high.
        resamples: Number of draws.
    """
    names = list(better)
    own, single = (np.array([[run[n] for n in names] for run in group]) for group in (runs, reference))
    rng = np.random.default_rng(0)
    values = []
    for _ in range(resamples):
        a, b = (x[rng.integers(0, len(x), len(x))].mean(0) for x in (own, single))
        values.append(delta_m(dict(zip(names, a)), dict(zip(names, b)), better).value)
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def row_costs(study: Study, root: Path, row: str) -> dict[str, Any]:
    """Costs of a row, kept in ``costs.json`` of the work folder; those of a row of single-task networks are summed."""
    path = root / 'costs.json'
    known: dict[str, dict] = json.loads(path.read_text()) if path.is_file() else {}
    settings = settings_of_row(study, row)
    if known.get(row, {}).get('of') != settings:
        options = study.options_of(row)
        single = bool(study.rows[row].get('per_task'))
        parts = [{**options, 'only_tasks': [task]} for task in study.tasks()] if single else [options]
        found = [costs_of(study.config_of(row), part, repeats=3) for part in parts]
        costs = {n: sum(getattr(c, n) or 0 for c in found) for n in ('parameters', 'layers', 'products', 'seconds')}
        costs['memory'] = max(c.memory or 0 for c in found)
        known[row] = dict(of=settings, costs=costs)
        write_json(str(path), known)
    return known[row]['costs']


def training_minutes(study: Study, root: Path, row: str) -> float:
    """Minutes of training and evaluation of a row, all tasks' networks together, averaged over seeds."""
    files = [root / run.name / 'seconds.json' for run in study.runs(root) if run.row == row]
    seconds = [json.loads(file.read_text()) for file in files if file.is_file()]
    return float(np.mean(seconds)) / 60 * len(files) / len(study.seeds) if seconds else float('nan')


def costs_rows(study: Study, root: Path, rows: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of costs."""
    cells = []
    for row in rows:
        costs = Costs(**row_costs(study, root, row))
        cells.append([row, *costs.cells(), f'{training_minutes(study, root, row):.1f}'])
    return ['', *HEADER, 'minutes a run'], cells


def plot_gains(
    gains: Mapping[str, Sequence[float]],
    intervals: Mapping[str, tuple[float, float]],
    costs: Mapping[str, Mapping[str, Any]],
    path: Path,
) -> None:
    """Δm against multiply-accumulates, with the intervals, as SVG."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout='constrained')
    FigureCanvasSVG(figure)
    axes = figure.add_subplot()
    for row, values in gains.items():
        x, y = (costs[row]['layers'] + costs[row]['products']) / 1e9, float(np.mean(values))
        low, high = intervals[row]
        axes.errorbar(x, y, [[max(y - low, 0)], [max(high - y, 0)]], fmt='o', capsize=3)
        axes.annotate(row, (x, y), textcoords='offset points', xytext=(6, 4), fontsize=8)
    axes.set_xscale('log')
    axes.set_xlabel('multiply-accumulates of one prediction, billions')
    axes.set_ylabel('Δm, %')
    axes.grid(alpha=0.3)
    drawn = io.BytesIO()
    figure.savefig(drawn, format='svg')
    write_atomically(str(path), drawn.getvalue())
