"""What a run has logged, as curves by task."""

from __future__ import annotations

import json
import os.path as osp
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.utils.files import read_text, write_atomically

Curve = dict[int, float]

PALETTE = ('#0969da', '#cf222e', '#1a7f37', '#9a6700', '#8250df', '#bf3989', '#57606a')


@dataclass
class RunLog:
    """One run's scalars.

    Attributes:
        name: Shown in legends.
        train: Scalar (``loss_depth``, ``lr``, ``time``, ...) → {iteration: value}.
        val: Figure (``depth/RMSE``, ...) → {iteration: value}.
    """

    name: str
    train: dict[str, Curve] = field(default_factory=lambda: defaultdict(dict))
    val: dict[str, Curve] = field(default_factory=lambda: defaultdict(dict))

    def tasks(self) -> list[str]:
        """Tasks with a loss or a figure, in the order of the log."""
        names = [k.split('loss_', 1)[1] for k in self.train if k.startswith('loss_')]
        return list(dict.fromkeys([*names, *(k.split('/')[0] for k in self.val if '/' in k)]))


def find_logs(path: str) -> list[Path]:
    """The ``scalars.json`` files of a run, oldest first: a resumed run has several.

    Raises:
        ConfigError: None there.
    """
    if osp.isfile(path):
        return [Path(path)]
    found = sorted(Path(path).glob('**/vis_data/scalars.json'))
    found = [f for f in found if f.stat().st_size]
    if not found:
        raise ConfigError(
            f"'{path}' has no log: expected a work dir with TIMESTAMP/vis_data/scalars.json in it, or such a file"
        )
    return found


def read_log(path: str) -> RunLog:
    """Read the log of a work dir or a ``scalars.json``; where runs overlap, the later one counts.

    Raises:
        ConfigError: No log there, or a file that is none; names file and line.
    """
    log = RunLog(osp.basename(osp.normpath(path)) if osp.isdir(path) else Path(path).parent.parent.name)
    for file in find_logs(path):
        for number, line in enumerate(read_text(file, 'a log').splitlines(), 1):
            try:
                _add(log, json.loads(line))
            except (ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                raise ConfigError(f'{file}, line {number}: no entry of a log in JSON: {error}') from error
    return log


def _add(log: RunLog, entry: Mapping[str, object]) -> None:
    """Sort one line of a log into the curves."""
    step = int(entry.get('step', entry.get('iter', 0)))  # type: ignore[call-overload]
    numbers = {
        k: float(v) for k, v in entry.items() if isinstance(v, (int, float)) and k not in ('step', 'iter', 'epoch')
    }
    is_val = 'loss' not in numbers and 'lr' not in numbers
    if is_val and step == 0:  # a logger that counts epochs in a run by iterations
        step = max(log.train.get('loss', {}), default=0)
    for key, value in numbers.items():
        if is_val and key not in ('time', 'data_time', 'memory'):
            log.val[key][step] = value
        elif not is_val:
            log.train[key][step] = value


def summarize_log(log: RunLog) -> str:
    """Iterations, seconds per iteration, and first, last and best value of every figure."""
    from mmmtl.utils.tables import format_table

    loss, seconds = log.train.get('loss', {}), list(log.train.get('time', {}).values())
    lines = [f'{log.name}: {max(loss) if loss else 0} iterations']
    if seconds:
        lines[0] += f', {np.median(seconds):.3f} s each (median)'
    rows = []
    for key, curve in {**{k: v for k, v in log.train.items() if 'loss' in k}, **log.val}.items():
        steps = sorted(curve)
        low, high = min(curve, key=curve.__getitem__), max(curve, key=curve.__getitem__)
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


def plot_logs(logs: Sequence[RunLog], out: str, smooth: float = 0.0, figures: int = 1) -> str:
    """Draw losses and figures, one column per task, one colour per run.

    Args:
        logs: The runs.
        out: ``.png``, ``.pdf`` or ``.svg`` to write.
        smooth: Weight of the past in an exponential mean over the loss, 0 (none) to 0.99.
        figures: How many figures of each task are drawn, in the order of the log.

    Returns:
        ``out``.

    Raises:
        ConfigError: Nothing to draw.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tasks = list(dict.fromkeys(t for log in logs for t in log.tasks()))
    shown = {
        t: list(dict.fromkeys(k for log in logs for k in log.val if k.startswith(t + '/')))[:figures] for t in tasks
    }
    if not tasks and not any('loss' in log.train for log in logs):
        raise ConfigError('the logs have neither losses nor figures to draw')
    rows = 1 + max((len(f) for f in shown.values()), default=0)
    columns = 1 + len(tasks)
    with matplotlib.rc_context(
        {'font.size': 8, 'axes.titlesize': 9, 'axes.titleweight': 'bold', 'font.family': 'DejaVu Sans'}
    ):
        engine = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, wspace=0.02, hspace=0.04)
        figure = Figure(figsize=(2.9 * columns, 2.1 * rows + 0.3), layout=engine)
        FigureCanvasAgg(figure)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axis in grid.flat:
            axis.set_visible(False)
        _curves(grid[0][0], 'all tasks: loss', [('loss', log.train.get('loss', {})) for log in logs], smooth)
        if rows > 1:
            _curves(grid[1][0], 'learning rate', [('lr', log.train.get('lr', {})) for log in logs], 0.0)
        for column, task in enumerate(tasks, 1):
            lines = [
                (key, log.train[key])
                for log in logs
                for key in log.train
                if key == f'loss_{task}' or key.endswith(f'.loss_{task}')
            ]
            _curves(grid[0][column], f'{task}: loss', lines, smooth)
            for row, key in enumerate(shown[task], 1):
                _curves(
                    grid[row][column],
                    key.replace('/', ': '),
                    [(key, log.val.get(key, {})) for log in logs],
                    0.0,
                    marks=True,
                )
        if len(logs) > 1:
            handles = [matplotlib.lines.Line2D([], [], color=PALETTE[i % len(PALETTE)]) for i in range(len(logs))]
            figure.legend(
                handles, [log.name for log in logs], loc='outside lower center', ncols=min(4, len(logs)), frameon=False
            )
        kind = Path(out).suffix.lstrip('.') or 'png'
        return write_atomically(out, lambda file: figure.savefig(file, format=kind, dpi=160))


def _curves(axis: Any, title: str, curves: Sequence[tuple[str, Curve]], smooth: float, marks: bool = False) -> None:
    """Draw curves of one quantity; names that differ (auxiliary losses) get a legend."""
    drawn = [(name, curve) for name, curve in curves if curve]
    if not drawn:
        return
    axis.set_visible(True)
    axis.set_title(title, loc='left', color='#1f2328')
    names = list(dict.fromkeys(name for name, _ in drawn))
    seen: dict[str, int] = defaultdict(int)
    for name, curve in drawn:
        steps = sorted(curve)
        values = _smoothed([curve[s] for s in steps], smooth)
        colour = PALETTE[(seen[name] if len(names) == 1 else names.index(name)) % len(PALETTE)]
        seen[name] += 1
        axis.plot(
            steps,
            values,
            color=colour,
            linewidth=1.2,
            marker='o' if marks or len(steps) < 3 else None,
            markersize=3,
            label=name,
        )
    if len(names) > 1:
        axis.legend(frameon=False, fontsize=6)
    axis.grid(color='#eaeef2', linewidth=0.8)
    axis.set_axisbelow(True)
    axis.tick_params(colors='#656d76', length=0)
    for side in ('top', 'right', 'left'):
        axis.spines[side].set_visible(False)
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
