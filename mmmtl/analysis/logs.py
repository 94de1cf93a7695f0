"""What a run has logged, as curves by task."""

from __future__ import annotations

import functools
import json
import math
import os.path as osp
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.tasks.base import task_title
from mmmtl.utils.files import read_text, write_atomically
from mmmtl.utils.tables import format_table

Curve = dict[int, float]

STYLES = ('-', '--', ':', '-.')
"""Of the lines of several losses."""
PALETTE = ('#0969da', '#cf222e', '#1a7f37', '#9a6700', '#8250df', '#bf3989', '#57606a')
"""Colours of the runs."""


@dataclass
class RunLog:
    """One run's scalars.

    Attributes:
        name: Shown in legends.
        train: Scalar (``loss_depth``, ``lr``, ``time``, ...) → {iteration: value}.
        val: Metric (``depth/RMSE``, ...) → {iteration: value}.
    """

    name: str
    train: dict[str, Curve] = field(default_factory=lambda: defaultdict(dict))
    val: dict[str, Curve] = field(default_factory=lambda: defaultdict(dict))

    def tasks(self) -> list[str]:
        """Tasks with a loss or a metric, in the order of the log."""
        names = [k.split('loss_', 1)[1] for k in self.train if k.startswith('loss_')]
        return list(dict.fromkeys([*names, *(k.split('/')[0] for k in self.val if '/' in k)]))


def find_logs(path: str) -> list[Path]:
    """The ``scalars.json`` files of a run, oldest first: a resumed run has several.

    Raises:
        ConfigError: None there.
    """
    if osp.isfile(path):
        return [Path(path)]
    found = [f for f in sorted(Path(path).glob('*/vis_data/scalars.json')) if f.stat().st_size]
    if not found:
        raise ConfigError(
            f"'{path}' has no log: expected a work dir with TIMESTAMP/vis_data/scalars.json in it, or such a file"
        )
    return found


def read_log(path: str) -> RunLog:
    """Read the log of a work dir or a ``scalars.json``; from where a later run begins, it counts alone.

    Raises:
        ConfigError: No log there, or a file that is none; names file and line.
    """
    log = RunLog(osp.basename(osp.normpath(path)) if osp.isdir(path) else Path(path).parent.parent.name)
    for file in find_logs(path):
        text, own = read_text(file, 'a log'), RunLog(log.name)
        for number, line in enumerate(text.splitlines(), 1):
            try:
                _add(own, json.loads(line), max(log.train.get('loss', {}), default=0))
            except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                if number > 1 and number == len(text.splitlines()) and not text.endswith('\n'):
                    continue  # the run is at work on this line, or was cut off there
                raise ConfigError(f'{file}, line {number}: no entry of a log in JSON: {error}') from error
        begin = min((min(curve) for curve in own.train.values()), default=math.inf)
        for mine, later in ((log.train, own.train), (log.val, own.val)):
            for key in {**mine, **later}:
                kept = {s: v for s, v in mine.pop(key, {}).items() if s < begin} | later.get(key, {})
                mine.update({key: kept} if kept else {})
    return log


def _add(log: RunLog, entry: Mapping[str, object], before: int) -> None:
    """Sort one line of a log into the curves; ``before`` iterations were done when the log begins."""
    step = int(entry.get('step', entry.get('iter', 0)))  # type: ignore[call-overload]
    numbers = {
        k: float(v) for k, v in entry.items() if isinstance(v, (int, float)) and k not in ('step', 'iter', 'epoch')
    }
    is_val = 'loss' not in numbers and 'lr' not in numbers
    if is_val and step == 0:  # a logger that counts epochs in a run by iterations
        step = max(log.train.get('loss', {}), default=before)
    for key, value in numbers.items():
        if is_val and key not in ('time', 'data_time', 'memory'):
            log.val[key][step] = value
        elif not is_val:
            log.train[key][step] = value


def summarize_log(log: RunLog) -> str:
    """Iterations, seconds per iteration, and first, last and best value of every metric."""
    loss, seconds = log.train.get('loss', {}), list(log.train.get('time', {}).values())
    lines = [f'{log.name}: {max(loss) if loss else 0} iterations']
    if seconds:
        lines[0] += f', {np.median(seconds):.3f} s each (median)'
    rows = []
    for key, curve in {**{k: v for k, v in log.train.items() if 'loss' in k}, **log.val}.items():
        steps, known = sorted(curve), [step for step in curve if not math.isnan(curve[step])] or list(curve)
        low, high = min(known, key=curve.__getitem__), max(known, key=curve.__getitem__)
        rows.append(
            [
                key,
                f'{curve[steps[0]]:.4f}',
                f'{curve[steps[-1]]:.4f}',
                f'{curve[low]:.4f} @ {low}',
                f'{curve[high]:.4f} @ {high}',
            ]
        )
    return '\n'.join([*lines, format_table(['', 'first', 'last', 'lowest', 'highest'], rows, right=(1, 2, 3, 4))])


def plot_logs(logs: Sequence[RunLog], out: str, smooth: float = 0.0, metrics: int = 1) -> str:
    """Draw losses and metrics over the iterations, one column per task.

    Colours mean runs, also where there is one alone; line styles mean the losses of one task (auxiliary heads).

    Args:
        logs: The runs.
        out: ``.png``, ``.pdf`` or ``.svg`` to write.
        smooth: Weight of the past in an exponential mean over the loss, 0 (none) to 0.99.
        metrics: How many metrics of each task are drawn, in the order of the log.

    Returns:
        ``out``.

    Raises:
        ConfigError: Nothing to draw.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(t for log in logs for t in log.tasks()))
    shown = {
        t: list(dict.fromkeys(k for log in logs for k in log.val if k.startswith(t + '/')))[:metrics] for t in tasks
    }
    if not tasks and not any('loss' in log.train for log in logs):
        raise ConfigError('the logs have neither losses nor metrics to draw')
    rows = 1 + max((len(f) for f in shown.values()), default=0)
    columns = 1 + len(tasks)
    with matplotlib.rc_context(
        {'font.size': 8, 'axes.titlesize': 9, 'axes.titleweight': 'bold', 'font.family': 'DejaVu Sans'}
    ):
        figure = Figure(figsize=(2.9 * columns, 2.3 * rows + 0.3), layout='constrained')
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False)
        _curves(grid[0][0], 'All tasks: loss', logs, lambda log: {'loss': log.train.get('loss', {})}, smooth)
        if rows > 1:
            _curves(grid[1][0], 'Learning rate', logs, lambda log: {'lr': log.train.get('lr', {})})
        for axis in [row[0] for row in grid[2:]]:
            axis.set_visible(False)
        for column, task in enumerate(tasks, 1):
            _curves(grid[0][column], f'{task_title(task)}: loss', logs, functools.partial(_losses, task=task), smooth)
            for row in range(1, rows):
                key = shown[task][row - 1] if row <= len(shown[task]) else ''
                title = f'{task_title(task)}: {key.partition("/")[2]}'
                _curves(grid[row][column], title, logs, functools.partial(_validated, key=key), marks=True)
        handles = [matplotlib.lines.Line2D([], [], color=PALETTE[i % len(PALETTE)]) for i in range(len(logs))]
        names = [log.name for log in logs]
        figure.legend(handles, names, loc='outside lower center', ncols=min(4, len(logs)), frameon=False)
        kind = Path(out).suffix.lstrip('.').lower() or 'png'
        if kind not in (known := figure.canvas.get_supported_filetypes()):
            raise ConfigError(f"'{out}': a plot ends in one of {', '.join(sorted(known))}")
        return write_atomically(out, lambda file: figure.savefig(file, format=kind, dpi=160))


def _losses(log: RunLog, task: str) -> dict[str, Curve]:
    """The losses of one task by name, that of auxiliary heads among them."""
    return {k: v for k, v in log.train.items() if k == f'loss_{task}' or k.endswith(f'.loss_{task}')}


def _validated(log: RunLog, key: str) -> dict[str, Curve]:
    return {key: log.val.get(key, {})}


def _curves(
    axis: Any,
    title: str,
    logs: Sequence[RunLog],
    read: Callable[[RunLog], Mapping[str, Curve]],
    smooth: float = 0.0,
    marks: bool = False,
) -> None:
    """Draw what ``read`` gives of every run into one set of axes; several curves of a run get a legend of line styles."""
    drawn = [(i, name, curve) for i, log in enumerate(logs) for name, curve in read(log).items() if curve]
    axis.set_visible(bool(drawn))
    names = list(dict.fromkeys(name for _, name, _ in drawn))
    for run, name, curve in drawn:
        steps = sorted(curve)
        axis.plot(
            steps,
            _smoothed([curve[s] for s in steps], smooth),
            color=PALETTE[run % len(PALETTE)],
            linestyle=STYLES[names.index(name) % len(STYLES)],
            linewidth=1.2,
            marker='o' if marks or len(steps) < 3 else None,
            markersize=3,
        )
    if len(names) > 1:
        for number, name in enumerate(names):
            axis.plot([], [], color='#57606a', linestyle=STYLES[number % len(STYLES)], label=name)
        axis.legend(frameon=False, fontsize=6)
    axis.set_title(title, loc='left', color='#1f2328')
    axis.set_xlabel('iteration', color='#656d76', fontsize=7)
    axis.grid(color='#eaeef2', linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(colors='#656d76', length=0)
    axis.spines[['top', 'right', 'left']].set_visible(False)
    axis.spines['bottom'].set_color('#d0d7de')


def _smoothed(values: Sequence[float], weight: float) -> list[float]:
    """Exponential mean that starts unbiased."""
    if weight <= 0:
        return list(values)
    mean, norm, result = 0.0, 0.0, []
    for value in values:
        mean, norm = weight * mean + (1 - weight) * value, weight * norm + (1 - weight)
        result.append(mean / norm)
    return result
