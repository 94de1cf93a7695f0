"""Recorded runs replayed on the device: in fp32 without TF32 against their tolerances, and under bfloat16 autocast."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tests.parity import common, replay

from .machine import tensor_float_32
from .on_device import on_device
from .rows import Rows, Setting


def _in_single(run: Any, *args: Any, **kwargs: Any) -> list[common.Result]:
    """In the place of :func:`tests.parity.common.judged`: single precision beside the recording, nothing judged."""
    return common.compared(run(torch.float32, None))


def replay_in(path: str, device: str, precision: str) -> tuple[str, Sequence[common.Result]]:
    """Method of a recording, and how far its quantities are apart in ``float32`` or ``bfloat16``."""
    with ExitStack() as stack:
        stack.enter_context(tensor_float_32(False))
        stack.enter_context(on_device(device))
        if precision == 'bfloat16':
            for module in replay.replayers().values():
                if hasattr(module, 'judged'):
                    stack.enter_context(patch.object(module, 'judged', _in_single))
            stack.enter_context(torch.autocast(torch.device(device).type, torch.bfloat16))
        return replay.replay_file(Path(path))


def summary(results: Sequence[common.Result], judged: bool) -> Mapping[str, Any]:
    """How many quantities there are, which are past their tolerance, and how far they are apart."""
    finite = [d for _, d, _ in results if math.isfinite(d)]
    past = [f'{name}: {d:.1e} (tolerance {t:.0e})' for name, d, t in results if not d <= t]
    found = dict(quantities=len(results), median=statistics.median(finite or [math.nan]), largest=max(finite or [0.0]))
    return {**found, **(dict(past=len(past), worst=past[:5]) if judged else {})}


def measure(setting: Setting, rows: Rows) -> None:
    """Small recordings first; all in fp32 before any in bfloat16."""
    files = sorted(setting.recordings, key=lambda path: Path(path).stat().st_size)
    for precision in ('float32', 'bfloat16'):
        for path in files:
            what: dict[str, Any] = dict(file=Path(path).name, precision=precision)
            with rows.trying(**what):
                method, results = replay_in(path, setting.device, precision)
                rows.add(**what, method=method, **summary(results, precision == 'float32'))
