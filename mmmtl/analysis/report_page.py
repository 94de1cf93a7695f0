"""The page of a report: HTML without scripts, readable offline."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from urllib.parse import quote

import numpy as np

from mmmtl.version import __version__

from .report_tables import ClassTable, ReportData, TaskReport

Panels = Mapping['tuple[str, str]', str]
"""(task, or '' for all of them, and sample id) → path relative to the page."""

STYLE = """
:root { --ink: #1f2328; --muted: #656d76; --line: #d0d7de; --soft: #f6f8fa; --blue: #0969da; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); font: 15px/1.5 -apple-system, "Segoe UI", "DejaVu Sans", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 36px 28px 80px; }
h1 { font-size: 27px; margin: 0 0 2px; } h2 { font-size: 21px; margin: 52px 0 12px; border-top: 1px solid var(--line);
padding-top: 26px; } h3 { font-size: 15px; margin: 24px 0 8px; }
p, figcaption { color: var(--muted); margin: 4px 0; font-weight: 400; } a { color: var(--blue); text-decoration: none; }
nav { margin: 14px 0 22px; } nav a { margin-right: 18px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid #eaeef2; vertical-align: top; }
th { color: var(--muted); font-weight: 500; } td.n, th.n { text-align: right; }
tr.first td { border-top: 1px solid var(--line); } .star td { font-weight: 600; }
.columns { display: flex; flex-wrap: wrap; gap: 12px 56px; align-items: flex-start; }
.bar { display: inline-block; width: 110px; height: 9px; background: #eaeef2; border-radius: 5px; vertical-align: 1px; }
.bar i { display: block; height: 9px; background: var(--blue); border-radius: 5px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 18px; }
figure { margin: 0; } figure img { width: 100%; border: 1px solid var(--line); border-radius: 6px; display: block; }
figcaption b { color: var(--ink); font-weight: 600; overflow-wrap: anywhere; }
.wide { overflow-x: auto; } .wide img { max-width: 100%; }
table.confusion { border-spacing: 2px; border-collapse: separate; } table.confusion td { min-width: 38px; height: 30px;
text-align: center; border: 0; padding: 2px 4px; font-size: 12px; border-radius: 3px; vertical-align: middle; }
table.confusion th { border: 0; vertical-align: middle; font-size: 12px; padding: 2px 6px; white-space: nowrap;
text-align: right; }
table.confusion thead th { writing-mode: vertical-rl; transform: rotate(180deg); text-align: left; padding: 6px 2px; }
svg text { font-size: 11px; fill: #656d76; }
"""


def report_page(data: ReportData, title: str, panels: Panels, curves: str = '', count: int = 3) -> str:
    """The whole page.

    Args:
        data: See :func:`collect_report`.
        title: Name of the run.
        panels: Paths of the panels there are.
        curves: Path of a picture of the training, or ''.
        count: Images at either end of each task's ranking.
    """
    links = ''.join(f'<a href="#{quote(task.name)}">{_words(task.name)}</a>' for task in data.tasks)
    parts = [
        f'<h1>{escape(title)}</h1><p>{len(data.images)} images · mmmtl {escape(__version__)} · '
        '<a href="images.csv">images.csv</a> · <a href="images.json">images.json</a></p>',
        f'<nav>{links}</nav>',
        summary(data),
    ]
    if curves:
        picture = f'<img src="{quote(curves)}" alt="curves of the training">'
        parts.append(f'<h2>Training</h2><div class="wide">{picture}</div>')
    parts += [task_section(task, panels, count) for task in data.tasks]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f'<body><main>{"".join(parts)}</main></body></html>\n'
    )


def summary(data: ReportData) -> str:
    """All figures by task; the one papers compare stands out."""
    rows = []
    for task in data.tasks:
        for i, (figure, (value, better)) in enumerate(task.figures.items()):
            sense = {True: 'higher is better', False: 'lower is better'}.get(better, '')  # type: ignore[arg-type]
            kinds = ' '.join(k for k, on in (('first', i == 0), ('star', figure == task.primary_metric)) if on)
            name = f'<a href="#{quote(task.name)}">{_words(task.name)}</a>' if i == 0 else ''
            rows.append(
                f'<tr class="{kinds}"><td>{name}</td><td>{escape(figure)}</td><td class="n">{_value(value)}</td>'
                f'<td><p style="margin:0">{sense}</p></td></tr>'
            )
    rows += [
        f'<tr class="first"><td></td><td>{escape(k)}</td><td class="n">{_value(v)}</td><td></td></tr>'
        for k, v in data.others.items()
    ]
    head = '<tr><th>task</th><th>figure</th><th class="n">value</th><th></th></tr>'
    return f'<table class="summary"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def task_section(task: TaskReport, panels: Panels, count: int) -> str:
    """Everything about one task."""
    parts = [f'<h2 id="{escape(task.name)}">{_words(task.name)}</h2>']
    blocks = []
    if task.ranking:
        values = [value for _, value in task.ranking]
        blocks.append(f'<div><h3>{escape(task.primary_metric)} of single images</h3>{histogram(values)}</div>')
    if task.classes is not None:
        blocks.append(f'<div><h3>By class</h3>{class_rows(task.classes)}</div>')
    parts.append(f'<div class="columns">{"".join(blocks)}</div>')
    if task.classes is not None:
        name = quote(task.name)
        parts.append(
            '<h3>Confusion</h3><p>rows: label, columns: prediction, in per cent of the row · '
            f'<a href="confusion_{name}.csv">confusion_{escape(task.name)}.csv</a> · '
            f'<a href="classes_{name}.csv">classes_{escape(task.name)}.csv</a></p>'
            f'<div class="wide">{confusion_table(task.classes)}</div>'
        )
    if not task.ranking:
        return ''.join(parts) + '<p>No image has a figure of its own.</p>'
    for heading, end in zip(('Worst images', 'Best images'), task.worst_and_best(count)):
        if end:
            figures = ''.join(_figure(i, value, task, panels) for i, value in end)
            parts.append(f'<h3>{heading}</h3><div class="pair">{figures}</div>')
    return ''.join(parts)


def _figure(sample_id: str, value: float, task: TaskReport, panels: Panels) -> str:
    caption = f'<b>{escape(sample_id)}</b> · {escape(task.primary_metric)} {_value(value)}'
    whole, own = (panels.get((name, sample_id), '') for name in ('', task.name))
    if whole:
        caption += f' · <a href="{quote(whole)}">all tasks</a>'
    if not (own or whole):
        return f'<figure><figcaption>{caption}</figcaption></figure>'
    path = quote(own or whole)
    picture = f'<img src="{path}" alt="panel of {escape(sample_id, quote=True)}">'
    return f'<figure><a href="{path}">{picture}</a><figcaption>{caption}</figcaption></figure>'


def histogram(values: Sequence[float], width: int = 460, height: int = 130, bins: int = 24) -> str:
    """Distribution of a figure over images as SVG, with its median."""
    low, high = min(values), max(values)
    if high <= low:
        return f'<p>{_value(low)} in all {len(values)} images</p>'
    counts, edges = np.histogram(values, min(bins, max(5, len(values))), (low, high))
    step = width / len(counts)
    bars = [
        f'<rect x="{i * step + 1:.1f}" y="{height - height * n / counts.max():.1f}" width="{step - 2:.1f}" '
        f'height="{height * n / counts.max():.1f}" rx="1.5" fill="#54aeff"><title>{_value(a)} to {_value(b)}: '
        f'{n} images</title></rect>'
        for i, (n, a, b) in enumerate(zip(counts.tolist(), edges.tolist(), edges[1:].tolist()))
    ]
    median = float(np.median(values))
    x = (median - low) / (high - low) * width
    anchor = 'start' if x < width / 2 else 'end'
    return (
        f'<svg width="{width}" height="{height + 42}" viewBox="0 -18 {width} {height + 42}" role="img">'
        f'{"".join(bars)}<line x1="0" x2="{width}" y1="{height}" y2="{height}" stroke="#d0d7de"/>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="-4" y2="{height}" stroke="#1f2328" stroke-dasharray="3 3"/>'
        f'<text x="{x:.1f}" y="-8" text-anchor="{anchor}">median {_value(median)}</text>'
        f'<text x="0" y="{height + 17}">{_value(low)}</text>'
        f'<text x="{width}" y="{height + 17}" text-anchor="end">{_value(high)}</text></svg>'
    )


def class_rows(table: ClassTable) -> str:
    """IoU, accuracy and share of pixels by class."""
    total = max(int(table.confusion.sum()), 1)
    rows = []
    for row in table.rows():
        width = 0 if math.isnan(row['IoU']) else 100 * row['IoU']
        rows.append(
            f'<tr><td>{escape(row["class"])}</td><td><span class="bar"><i style="width:{width:.1f}%"></i></span></td>'
            f'<td class="n">{_value(row["IoU"])}</td><td class="n">{_value(row["accuracy"])}</td>'
            f'<td class="n">{100 * row["pixels"] / total:.1f} %</td></tr>'
        )
    head = '<tr><th>class</th><th></th><th class="n">IoU</th><th class="n">accuracy</th><th class="n">pixels</th></tr>'
    return f'<table><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'


def confusion_table(table: ClassTable) -> str:
    """The confusion matrix, each row as shares of its label's pixels."""
    total = table.confusion.sum(1, keepdims=True)
    share = table.confusion / np.maximum(total, 1)
    numbers = len(table.names) <= 24
    head = ''.join(f'<th>{escape(name)}</th>' for name in table.names)
    rows = []
    for i, name in enumerate(table.names):
        cells = []
        for j, other in enumerate(table.names):
            part, tone = float(share[i, j]), '45,164,78' if i == j else '207,34,46'
            text = f'{100 * part:.0f}' if numbers and part >= 0.005 else ''
            hint = f'{name} labelled, {other} predicted: {100 * part:.2f} % ({int(table.confusion[i, j])} pixels)'
            style = f'background:rgba({tone},{0.04 + 0.66 * part:.3f})'
            cells.append(f'<td style="{style}" title="{escape(hint, quote=True)}">{text}</td>')
        rows.append(f'<tr><th>{escape(name)}</th>{"".join(cells)}</tr>')
    return f'<table class="confusion"><thead><tr><td></td>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _words(name: str) -> str:
    return escape(name.replace('_', ' ').capitalize())


def _value(value: float) -> str:
    return '–' if math.isnan(value) else f'{value:.4f}' if abs(value) < 1000 else f'{value:.1f}'
