"""An exported file beside the model: each task's largest difference, and the speed of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmmtl.utils.tables import format_table

from .exported_model import ExportedModel
from .program import Program

RUNS, SECONDS = 5, 20.0
"""Timed runs, and the time after which no other is begun."""


@dataclass(frozen=True)
class Difference:
    """How far the file's map of a task is from the model's.

    Attributes:
        largest: Largest absolute difference; of class maps the share of pixels with another class.
        relative: That over the largest absolute value of the model's map; of class maps the same as ``largest``.
        share: Share of values that differ by more than 0.1 % of that value.
        categorical: Whether the map holds classes.
    """

    largest: float
    relative: float
    share: float
    categorical: bool


def difference(found: np.ndarray, wanted: np.ndarray) -> Difference:
    """Of two maps of one shape."""
    if np.issubdtype(wanted.dtype, np.integer):
        other = float((found != wanted).mean())
        return Difference(other, other, other, True)
    off = np.abs(found.astype(np.float64) - wanted)
    off = np.where(np.isfinite(off), off, np.inf)
    scale = max(float(np.abs(wanted).max()), 1e-12)
    return Difference(float(off.max()), float(off.max()) / scale, float((~(off <= 1e-3 * scale)).mean()), False)


def example(program: Program, batch: int, seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Smooth random images of 0..255 with some grain, and standard normal noise."""
    generator = torch.Generator().manual_seed(seed)
    *frames, channels, height, width = program.image_shape
    rows = batch * int(np.prod(frames, dtype=int))
    coarse = torch.rand(rows, channels, 8, 8, generator=generator) * 255
    image = torch.nn.functional.interpolate(coarse, (height, width), mode='bilinear', align_corners=False)
    image = (image + torch.randn(image.shape, generator=generator) * 8).round().clamp(0, 255)
    shapes = {} if program.baked else program.noise_shapes
    noise = {name: torch.randn(batch, *shape, generator=generator).numpy() for name, shape in shapes.items()}
    return image.reshape(batch, *frames, channels, height, width).numpy(), noise


def run_program(program: Program, image: np.ndarray, noise: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model itself predicts, by its own modules."""
    tensors = {name: torch.from_numpy(draw) for name, draw in noise.items()}
    with torch.no_grad():
        return {name: x.numpy() for name, x in program(torch.from_numpy(image), tensors).items()}


def compare(program: Program, file: ExportedModel, batch: int) -> dict[str, Difference]:
    """Run both on one example."""
    image, noise = example(program, batch)
    wanted, found = run_program(program, image, noise), file(image, noise)
    return {name: difference(found[name], wanted[name]) for name in wanted}


def seconds(call: Callable[[], Any]) -> float:
    """Median time of a call, after one that does not count."""
    call()
    times: list[float] = []
    while len(times) < RUNS and sum(times) < SECONDS:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def report(program: Program, file: ExportedModel, batch: int) -> tuple[dict[str, Difference], str]:
    """Differences and speed, and both as a table."""
    found = compare(program, file, batch)
    image, noise = example(program, batch)
    ours = seconds(lambda: run_program(program, image, noise))
    theirs = seconds(lambda: file(image, noise))
    rows = [
        [name, _largest(program, name, d), '' if d.categorical else f'{d.relative:.2g}'] for name, d in found.items()
    ]
    table = format_table(['task', 'largest difference', 'relative'], rows, right=(1, 2))
    size = '×'.join(map(str, program.size))
    speed = (
        f'{batch} image{"s" * (batch > 1)} of {size}: model {1e3 * ours:.0f} ms, file {1e3 * theirs:.0f} ms '
        f'(median of up to {RUNS} runs, {torch.get_num_threads()} threads)'
    )
    return found, f'{table}\n{speed}'


def _largest(program: Program, name: str, seen: Difference) -> str:
    """A task's largest difference, with its unit."""
    if seen.categorical:
        return f'{seen.largest:.2%} of pixels'
    unit = '' if program.raw else getattr(program.model.tasks[name], 'unit', '')
    return f'{seen.largest:.3g} {unit}'.rstrip()
