"""The page of a report: HTML without scripts, readable offline; its template is ``report.html``."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mmmtl.tasks.base import task_title
from mmmtl.version import __version__

from .report_tables import ReportData, TaskReport

Panels = Mapping['tuple[str, str]', str]
"""(task, or '' for all of them, and sample id) → path relative to the page."""


def report_page(
    data: ReportData, title: str, panels: Panels, curves: str = '', count: int = 3, origin: Mapping[str, str] = {}
) -> str:
    """The whole page; all text in it is escaped.

    Args:
        data: See :func:`collect_report`.
        title: Name of the run.
        panels: Paths of the panels there are.
        curves: Path of a picture of the training, or ''.
        count: Images at either end of each task's ranking.
        origin: What was evaluated, in words: config, checkpoint, date.
    """
    environment = Environment(
        loader=PackageLoader('mmmtl.analysis', '.'), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters.update(number=_number, percent=_percent, title_of=task_title)

    def ends(task: TaskReport) -> list[tuple[str, Any]]:
        return list(zip(('Worst images', 'Best images'), task.worst_and_best(count)))

    values = dict(data=data, title=title, panels=panels, curves=curves, origin=origin, version=__version__, ends=ends)
    return environment.get_template('report.html').render(values, histogram=histogram)


def histogram(ranking: Sequence[tuple[str, float]], bins: int = 24) -> Markup:
    """Distribution of a metric over images as SVG, with its median.

    Args:
        ranking: ``(sample id, value)`` of every image.
        bins: Bars at most.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    values = [value for _, value in ranking]
    if max(values) <= min(values):
        return Markup('<p>{} in all {} images</p>').format(_number(values[0]), len(values))
    figure = Figure(figsize=(4.8, 1.9), layout='constrained')
    FigureCanvasSVG(figure)
    axis = figure.subplots()
    counts, edges, _ = axis.hist(values, min(bins, max(5, len(values))), color='#54aeff', rwidth=0.94)
    axis.axvline(median := float(np.median(values)), color='#1f2328', linewidth=1, linestyle='--')
    axis.set_title(f'median {_number(median)}', fontsize=8, color='#656d76')
    axis.set_ylabel('images', fontsize=8, color='#656d76')
    axis.yaxis.set_major_locator(MaxNLocator('auto', integer=True, steps=[1, 2, 2.5, 5, 10]))
    axis.tick_params(labelsize=8, colors='#656d76', length=0)
    axis.spines[['top', 'left', 'right']].set_visible(False)
    text = io.StringIO()
    settings = {'svg.fonttype': 'none', 'svg.hashsalt': 'mmmtl'}  # the same page from the same numbers
    with matplotlib.rc_context(settings):
        figure.savefig(
            text, format='svg', transparent=True, metadata=dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
        )
    picture = text.getvalue()
    spoken = escape(f'{int(sum(counts))} images from {_number(edges[0])} to {_number(edges[-1])}')
    return Markup(picture[picture.index('<svg') :].replace('<svg', f'<svg role="img" aria-label="{spoken}"', 1))


def _number(value: float) -> str:
    return '–' if math.isnan(value) else f'{value:.4f}' if abs(value) < 1000 else f'{value:.1f}'


def _percent(share: float) -> str:
    return '0' if math.isnan(share) else f'{100 * share:.1f}'
