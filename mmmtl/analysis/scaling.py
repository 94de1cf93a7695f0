"""How the cost of a prediction grows with tasks, steps, size, width, batch and levels: measured, and fitted by its law."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmmtl.config.load import load_config
from mmmtl.errors import ConfigError
from mmmtl.models.sizes import input_size
from mmmtl.ops.allocator import live_memory
from mmmtl.ops.dispatch import plain_operations
from mmmtl.registry import MODELS, register_all_modules
from mmmtl.utils.files import write_atomically, write_json
from mmmtl.utils.tables import markdown_table

from .benchmark import Benchmark, interleaved
from .complexity import count_complexity

AXES = ('tasks', 'steps', 'size', 'width', 'batch', 'levels')
LAWS: dict[str, tuple[str, tuple[int, ...]]] = {
    'tasks': ('a + b n', (0, 1)),
    'steps': ('a + b n', (0, 1)),
    'size': ('a + b p + c p², p pixels', (0, 1, 2)),
    'width': ('a + b w + c w²', (0, 1, 2)),
    'batch': ('a + b n', (0, 1)),
    'levels': ('a + b n', (0, 1)),
}
"""Per axis how a cost grows: in words, and the powers that are fitted."""


@dataclass
class Point:
    """One network of an axis.

    Attributes:
        value: Its place on the axis.
        tasks, levels, steps: N, S and T of the network.
        milliseconds: Of a prediction.
        memory: MiB at its peak.
        gmac: Multiply-accumulates in billions.
        convolutions: 3x3 convolutions that are called.
        law: How many the method's law says there are, up to a constant; None where there is no law.
    """

    value: int
    tasks: int
    levels: int
    steps: int
    milliseconds: float = 0.0
    memory: float = 0.0
    gmac: float = 0.0
    convolutions: int = 0
    law: int | None = None


@dataclass
class Curve:
    """The points of an axis and what was fitted.

    Attributes:
        fits: ``{quantity: (coefficients by power, R²)}``.
    """

    axis: str
    points: list[Point]
    fits: dict[str, tuple[list[float], float]] = field(default_factory=dict)


def law_of(decoder: str, tasks: int, levels: int, steps: int) -> int | None:
    """Convolutions (TaskDiffusion: O(2NS + 2NT + 3ST)) or passes of large networks (StableMTL: 2 encodings, 2N passes).

    Args:
        decoder: Registered name of the decoder, or of the model that has none.
        tasks: N.
        levels: S.
        steps: T.
    """
    if decoder == 'TaskDiffusionDecoder':
        return 2 * tasks * levels + 2 * tasks * steps + 3 * levels * steps
    if decoder == 'LatentMultiTaskModel':
        return 2 + 2 * tasks
    return None


def _steps_name(cfg: Config, where: str) -> str:
    """The option that sets the number of denoising steps."""
    register_all_modules()
    decoder = cfg.model.get('decoder') or {}
    kind = MODELS.get(decoder.get('type', ''))
    names = inspect.signature(kind).parameters if kind else {}
    name = next((n for n in ('steps', 'num_steps') if n in names), None)
    if name is None:
        raise ConfigError(f'{where}: model.decoder has no number of steps, so --scaling steps does not go')
    return name


def _levels(cfg: Config, where: str, count: int) -> dict[str, Any]:
    try:
        depth = int(cfg.model.backbone.depth)
    except (AttributeError, TypeError):
        depth = 0
    if not depth or cfg.model.get('neck', {}).get('type') != 'LevelProjection':
        raise ConfigError(f'{where}: --scaling levels needs a ViT with its depth in the config and a LevelProjection')
    return {'model.backbone.out_indices': tuple(round((k + 1) * depth / count) - 1 for k in range(count))}


def variants(
    cfg: Config, axis: str, where: str, size: tuple[int, int] | None = None
) -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
    """``(value, options of the config, arguments of the benchmark)`` of every point of an axis."""
    names, (height, width) = list(cfg.model.tasks), size or input_size(cfg)
    if axis == 'tasks':
        return [(n, {'only_tasks': names[:n]}, {}) for n in range(1, len(names) + 1)]
    if axis == 'steps':
        option = f'model.decoder.{_steps_name(cfg, where)}'
        return [(n, {option: n}, {}) for n in range(1, 6)]
    if axis == 'size':
        sizes = [(height * k // 2, width * k // 2) for k in (1, 2, 3, 4)]
        vit = bool(cfg.model.get('backbone', {}).get('img_size'))
        return [(h * w, {'model.backbone.img_size': (h, w)} if vit else {}, {'size': (h, w)}) for h, w in sizes]
    if axis == 'width':
        channels = (cfg.model.get('neck') or {}).get('channels')
        if not channels:
            raise ConfigError(f'{where}: model.neck has no channels, so --scaling width does not go')
        return [(channels * k // 2, {'model.neck.channels': channels * k // 2}, {}) for k in (1, 2, 3, 4)]
    if axis == 'batch':
        return [(n, {}, {'batch': n}) for n in (1, 2, 3, 4, 6, 8)]
    return [(n, _levels(cfg, where, n), {}) for n in (1, 2, 3, 4)]


def fit(values: Sequence[float], costs: Sequence[float], powers: Sequence[int]) -> tuple[list[float], float]:
    """Least squares of a polynomial; returns its coefficients, and R²."""
    x, y = np.asarray(values, float), np.asarray(costs, float)
    scale = x.max()
    matrix = np.stack([(x / scale) ** p for p in powers], 1)
    solution = np.linalg.lstsq(matrix, y, rcond=None)[0]
    rest, spread = ((y - matrix @ solution) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    return [float(c / scale**p) for c, p in zip(solution, powers)], float(1 - rest / spread) if spread else 1.0


def measure_axis(
    config: str, axis: str, options: Mapping[str, Any] | None = None, repeats: int = 5, **bench: Any
) -> Curve:
    """Measure all points of an axis in turns, and fit.

    Args:
        config: A config.
        axis: Of :data:`AXES`.
        options: Options of the config.
        repeats: Measurements of every point.
        **bench: Arguments of :class:`~mmmtl.analysis.benchmark.Benchmark`.
    """
    options = dict(options or {})
    points: list[Point] = []
    runs: dict[str, Callable[[], Any]] = {}
    for value, more, arguments in variants(load_config(config, options), axis, config, bench.get('size')):
        cfg = load_config(config, {**options, **more})
        with plain_operations():
            counted = count_complexity(cfg, arguments.get('size') or bench.get('size')).total()
        one = Benchmark(cfg, **{**bench, **arguments})
        decoder = getattr(one.model, 'decoder', None)
        steps = len(getattr(decoder, 'step_times', ())) or getattr(decoder, 'num_steps', 1)
        point = Point(value, len(one.model.tasks), len(getattr(decoder, 'in_channels', (0,))), steps)
        point.gmac = one.batch * (counted.layers + counted.products) / 1e9
        with live_memory():
            one.run()  # what libraries keep after their first call is no part of it
            point.convolutions, point.memory = counted.convolutions, one.measure_memory() / 2**20
        point.law = law_of(type(decoder or one.model).__name__, point.tasks, point.levels, point.steps)
        points.append(point)
        runs[str(value)] = one.run
    seconds = interleaved(runs, repeats, device=bench.get('device', 'cpu'))
    for point in points:
        point.milliseconds = 1e3 * sorted(seconds[str(point.value)])[repeats // 2]
    curve = Curve(axis, points)
    for quantity in ('milliseconds', 'memory', 'gmac'):
        costs = [getattr(p, quantity) for p in points]
        curve.fits[quantity] = fit([p.value for p in points], costs, LAWS[axis][1])
    return curve


def page(config: str, curves: Sequence[Curve], picture: str) -> str:
    """The curves as Markdown."""
    axes = ' '.join(c.axis for c in curves)
    parts = [
        '# How the cost of a prediction grows',
        f'Measured and written by `mmmtl benchmark {config} --scaling {axes} --out docs/results/scaling.md`; a prediction '
        'of a small network, points of an axis in turns, medians. Multiply-accumulates and calls of 3x3 convolutions are '
        'counted, not measured; the law of the method is an order of growth, and a single task of TaskDiffusion, which has no '
        'relations, goes without their convolutions. R² says how much of the variation the fitted curve explains.',
        f'![time and memory against the fitted laws]({picture})',
    ]
    for curve in curves:
        words, powers = LAWS[curve.axis]
        head = [curve.axis, 'ms', 'MiB', 'GMAC', '3x3 convolutions', "the method's law"]
        rows: list[list[Any]] = [
            [p.value, f'{p.milliseconds:.1f}', f'{p.memory:.1f}', f'{p.gmac:.3f}', p.convolutions, p.law or '']
            for p in curve.points
        ]
        told = ', '.join(f'{name} {r2:.3f}' for name, (_, r2) in curve.fits.items())
        parts.append(f'## {curve.axis.capitalize()}: {words}\n\n{markdown_table(head, rows)}\n\nR²: {told}.')
    return '\n\n'.join(parts) + '\n'


def draw(curves: Sequence[Curve], path: str) -> None:
    """Time and memory of every axis with the fitted laws, as a picture."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(curves), figsize=(2.6 * len(curves), 4.6), squeeze=False)
    for column, curve in enumerate(curves):
        values = [p.value for p in curve.points]
        dense = np.linspace(0, max(values), 50)
        for row, quantity in enumerate(('milliseconds', 'memory')):
            coefficients = curve.fits[quantity][0]
            law = sum(c * dense**p for c, p in zip(coefficients, LAWS[curve.axis][1]))
            axes[row, column].plot(dense, law, color='0.6')
            axes[row, column].plot(values, [getattr(p, quantity) for p in curve.points], 'o')
            axes[row, column].set_ylim(bottom=0)
        axes[0, column].set_title(curve.axis)
    axes[0, 0].set_ylabel('ms')
    axes[1, 0].set_ylabel('MiB')
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def scaling_report(config: str, axes: Sequence[str], out: str | None = None, **arguments: Any) -> str:
    """Measure axes and return the page; with ``out`` it is written there, its picture and its numbers beside it."""
    curves = [measure_axis(config, axis, **arguments) for axis in axes]
    picture = Path(out or 'scaling.md').with_suffix('.png')
    text = page(config, curves, picture.name)
    if out:
        write_atomically(out, text)
        draw(curves, str(picture))
        found = {c.axis: dict(points=[vars(p) for p in c.points], fits=c.fits) for c in curves}
        write_json(Path(out).with_suffix('.json'), found)
    return text
