"""What the replays of different methods share: quantities, their comparison, and published names.

A recording holds numbers in single precision. A replay computes them in double precision, where the processor, its
instruction set and the number of threads leave no trace, and compares element by element with the recording, relative
to the largest element of the recorded tensor. The single precision that users run is held against the double precision
of the same program.
Where a quantity amplifies rounding, its bound is measured: how far it moves when the weights are changed by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmmtl.registry import TASKS
from mmmtl.tasks import IGNORE

Result = tuple[str, float, float]
"""Quantity, difference, tolerance."""

OUTPUT, LOSS, GRADIENT = 1e-5, 1e-5, 2e-4
ALL_GRADIENTS = 'all gradients as one vector'
SINGLE_GRADIENT = 5e-3
"""Largest difference of all gradients in single precision, relative to the largest of them all."""
CAP = 4e-4
"""No bound of a quantity exceeds it, so that an error of 1e-3 of a tensor's scale is seen everywhere."""
ROUNDING = 2.4e-7
"""Relative change of every weight: a few of the last binary digits in single precision."""


class CannotReplay(Exception):
    """A file that holds no recording, one of a method that is not here, or one whose sibling is missing."""


class UnknownMethod(CannotReplay):
    """A recording that no method here recognises."""


class Quantity(NamedTuple):
    """One recorded tensor beside the replayed one.

    Attributes:
        found: What this program computes.
        expected: What was recorded.
        tolerance: Largest difference of an element, relative to the recorded tensor's largest element.
        floor: Smallest scale that counts, for tensors that are zero but for rounding.
    """

    found: Tensor
    expected: Tensor
    tolerance: float
    floor: float = 1e-30


def quantity(found: Any, expected: Any, tolerance: float, floor: float = 1e-30) -> Quantity:
    """A :class:`Quantity` of tensors or numbers."""
    return Quantity(torch.as_tensor(found).detach(), torch.as_tensor(expected), tolerance, floor)


def relative(found: Tensor, expected: Tensor, floor: float = 1e-30) -> float:
    """Largest difference over the expected tensor's largest element; infinite when shapes differ or a value is NaN."""
    if found.shape != expected.shape:
        return math.inf
    if not found.numel():
        return 0.0
    difference = (found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(floor)
    return math.inf if torch.isnan(difference) else difference.item()


def single_norm(x: Tensor) -> Tensor:
    """The norm of a tensor as torch sums it in single precision: eight running sums, each one square after the other.

    Of a few million numbers it loses four digits, which recordings in single precision have lost too.
    """
    numbers = x.detach().float().flatten().numpy()
    squares = np.pad(numbers * numbers, (0, -len(numbers) % 8)).reshape(-1, 8)
    sums = np.add.accumulate(squares, axis=0)[-1]
    return torch.tensor(math.sqrt(sums.sum(dtype=np.float64)), dtype=torch.float64)


def ratio(found: Any, expected: Any) -> float:
    """Relative difference of two numbers."""
    return abs(float(found) - float(expected)) / max(abs(float(expected)), 1e-12)


def compared(quantities: Mapping[str, Quantity]) -> list[Result]:
    """Differences from the recording."""
    return [(name, relative(q.found, q.expected, q.floor), q.tolerance) for name, q in quantities.items()]


Run = Callable[[torch.dtype, 'int | None'], Mapping[str, Quantity]]
"""Replays in a precision; with a seed, every weight is changed by rounding first (:func:`nudged`)."""


def judged(run: Run, cap: float = CAP, nudges: int = 3) -> list[Result]:
    """Double precision against the recording, and single against double precision.

    A difference past the tolerance is held against how far rounding moves the quantity: three times the largest of some
    moves in double precision (the same on every processor), and never more than ``cap``, so that an error of 1e-3 of a
    tensor's scale is always seen.

    Args:
        run: See :data:`Run`.
        cap: Largest bound.
        nudges: How many moves are tried.

    Returns:
        A result per quantity in double precision; of those in single precision the ones past their tolerance, and the
        largest of the others. Gradients in single precision, where rounding decides on which side of a kink a unit
        lies, are compared as one vector.
    """
    exact, single = _with_all_gradients(run(torch.float64, None)), _with_all_gradients(run(torch.float32, None))
    apart = {
        n: relative(q.found, exact[n].found, q.floor)
        for n, q in single.items()
        if q.expected.is_floating_point() and q.tolerance and not n.startswith('gradient')
    }
    recorded = {n: relative(q.found, q.expected, q.floor) for n, q in exact.items() if n != ALL_GRADIENTS}
    past = [
        n for n, q in exact.items() if q.tolerance and not max(recorded.get(n, 0.0), apart.get(n, 0.0)) <= q.tolerance
    ]
    moved = dict.fromkeys(past, 0.0)
    for seed in range(nudges if past else 0):
        again = _with_all_gradients(run(torch.float64, seed))
        moved = {n: max(moved[n], relative(again[n].found, exact[n].found, exact[n].floor)) for n in past}
    bounds = {n: max(q.tolerance, min(3 * moved.get(n, 0.0), cap)) for n, q in exact.items()}
    results = [(n, gap, bounds[n]) for n, gap in recorded.items()]
    largest: dict[float, list[float]] = {}
    for name, gap in apart.items():
        if gap <= exact[name].tolerance:
            largest.setdefault(exact[name].tolerance, []).append(gap)
        else:
            results.append((f'{name}, single precision', gap, bounds[name]))
    results += [(f'{len(g)} quantities, single precision', max(g), tolerance) for tolerance, g in largest.items()]
    return results


def _with_all_gradients(found: Mapping[str, Quantity]) -> dict[str, Quantity]:
    """The quantities, and the gradients as one vector that is compared between precisions alone."""
    gradients = [q.found.double().flatten() for n, q in found.items() if n.startswith('gradient') and q.tolerance]
    if not gradients:
        return dict(found)
    whole = torch.cat(gradients)
    return {**found, ALL_GRADIENTS: Quantity(whole, whole, SINGLE_GRADIENT)}


def nudged(state: Mapping[str, Tensor], seed: int | None) -> dict[str, Tensor]:
    """The state with every floating-point number changed by a rounding error; unchanged without a seed."""
    if seed is None:
        return dict(state)
    generator = torch.Generator().manual_seed(seed)
    return {
        k: v * (1 + ROUNDING * torch.randn(v.shape, generator=generator)) if v.is_floating_point() else v
        for k, v in state.items()
    }


def cast(values: Any, dtype: torch.dtype) -> Any:
    """Nested containers with every floating-point tensor in ``dtype``."""
    if isinstance(values, Tensor):
        return values.to(dtype) if values.is_floating_point() else values
    if isinstance(values, Mapping):
        return {k: cast(v, dtype) for k, v in values.items()}
    return type(values)(cast(v, dtype) for v in values) if isinstance(values, (list, tuple)) else values


@contextmanager
def watched(owner: Any, method: str) -> Iterator[list[tuple[tuple, Any]]]:
    """Collects ``(arguments, result)`` of every call of a method."""
    calls: list[tuple[tuple, Any]] = []
    original = getattr(owner, method)

    def call(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        calls.append((args, result))
        return result

    setattr(owner, method, call)
    try:
        yield calls
    finally:
        delattr(owner, method)


@contextmanager
def at_recorded_maps(tasks: Mapping[str, Any], recorded: Mapping[str, Sequence[Tensor]]) -> Iterator[None]:
    """Losses are taken at the recorded maps, while their gradients go to the maps of this program.

    A loss with a kink (the absolute difference) has another gradient on either side of it; rounding decides the side.

    Args:
        tasks: ``{name: task}``.
        recorded: Per task the recorded full-size maps of the samples its loss is asked for, in order of the calls.
    """
    for name, maps in recorded.items():
        tasks[name].loss = _taken_at(tasks[name].loss, list(maps))
    try:
        yield
    finally:
        for name in recorded:
            del tasks[name].loss


def _taken_at(loss: Callable, maps: list[Tensor]) -> Callable:
    def call(logits: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return loss(logits + (maps.pop(0).to(logits) - logits).detach(), *args, **kwargs)

    return call


def read_recording(path: Path) -> dict:
    """The recording in a file.

    Raises:
        CannotReplay: There is no such file, or it holds no recording.
    """
    if not path.is_file():
        raise CannotReplay('no such file')
    try:
        data = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        raise CannotReplay(f'not a recording that can be read: {str(error).splitlines()[0]}') from error
    if not isinstance(data, dict):
        raise CannotReplay(f'not a recording: it holds a {type(data).__name__}')
    return data


def published_class(published: str) -> tuple[str, Any]:
    """Registered name and class of the task that published code calls ``published``."""
    TASKS.import_from_location()
    for key, kind in TASKS.module_dict.items():
        if published == kind.default_name or published in kind.aliases:
            return key, kind
    raise ValueError(f"no task is published as '{published}'")


def published_task(published: str, **options: Any) -> Any:
    """The task that published code calls ``published``."""
    return published_class(published)[1](**options)


def label_of(task: Any, label: Tensor, unknown: float = IGNORE) -> Tensor:
    """A recorded float map (n, C, H, W) with ``unknown`` where invalid → the form labels have here."""
    if task.categorical:
        return label[:, 0].long()
    if not label.is_floating_point():
        label = label.float()
    return torch.where((label == unknown).any(1, keepdim=True), torch.full_like(label, math.nan), label)


def published_form(name: str, prediction: Tensor) -> Tensor:
    """A prediction as the published post-processing returns it."""
    if name in ('semseg', 'human_parts'):
        return prediction[:, 0]
    if name in ('sal', 'edge'):
        return prediction[:, 0] * 255
    prediction = prediction.permute(0, 2, 3, 1)
    return (prediction + 1) * 127.5 if name == 'normals' else prediction


def classes_of(maps: Tensor, recorded: Tensor, maps_recorded: Tensor, tolerance: float) -> Quantity:
    """Recorded class numbers beside ours, where the recorded maps tell the best two apart by more than the tolerance."""
    best = maps_recorded.double().topk(2, 1).values
    clear = best[:, 0] - best[:, 1] > 2 * tolerance * maps_recorded.abs().max()
    return Quantity((maps != recorded)[clear].double().sum(), torch.zeros((), dtype=torch.float64), 0.0, 1.0)
