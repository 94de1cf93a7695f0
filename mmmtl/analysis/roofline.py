"""How near every part of a network is to what the machine can do: operations, bytes, and the bound they set."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from mmmtl.utils.tables import format_table

from .benchmark import Benchmark, interleaved, matmul_peak, part_times
from .complexity import REST, Part, count_complexity

HEADER = ['part', 'ms', 'GMAC', '% of peak', 'MB moved', '% of bandwidth', 'bound ms', '% of bound']


def copy_bandwidth(device: torch.device | str = 'cpu', size: int = 2**28) -> float:
    """Bytes a second, read and written, of a large copy into memory that is there already."""
    source = torch.zeros(size // 4, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    (times,) = interleaved({'copy': lambda: target.copy_(source)}, 5, 1, device).values()
    return 2 * size / min(times)


def roofline_table(seconds: Mapping[str, float], parts: Mapping[str, Part], peak: float, bandwidth: float) -> str:
    """The table.

    Args:
        seconds: ``{part: time}``; ``everything else`` stands for what lies between the parts.
        parts: Counts by part.
        peak: FLOP/s of the machine.
        bandwidth: Bytes/s of its memory.
    """
    counts = {('everything else' if name == REST else name): part for name, part in parts.items()}
    rows, total = [], (0.0, 0.0, 0.0, 0.0)
    for name, spent in seconds.items():
        part = counts.get(name, Part())
        operations = 2.0 * (part.layers + part.products)
        bound = max(operations / peak, part.moved / bandwidth)
        total = (total[0] + spent, total[1] + operations, total[2] + part.moved, total[3] + bound)
        rows.append(_row(name, spent, operations, part.moved, bound, peak, bandwidth))
    rows.append(_row('total', *total, peak, bandwidth))
    return format_table(HEADER, rows, right=range(1, len(HEADER)))


def _row(
    name: str, spent: float, operations: float, moved: float, bound: float, peak: float, bandwidth: float
) -> list[str]:
    spent = max(spent, 1e-9)
    return [
        name,
        f'{1e3 * spent:.1f}',
        f'{operations / 2e9:.2f}',
        f'{100 * operations / spent / peak:.0f}',
        f'{moved / 1e6:.0f}',
        f'{100 * moved / spent / bandwidth:.0f}',
        f'{1e3 * bound:.1f}',
        f'{100 * bound / spent:.0f}',
    ]


def roofline(bench: Benchmark) -> str:
    """A prediction, part by part, with the peak and the bandwidth measured in the same run.

    Operations and bytes are those of the network as it is written: where a faster way needs fewer (Winograd's convolutions,
    fused passes), a part may be nearer than 100 %.
    """
    dtype = torch.bfloat16 if bench.amp else torch.float32
    peak, bandwidth = matmul_peak(bench.device, dtype), copy_bandwidth(bench.device)
    bench.run()
    runs = [part_times(bench.model, bench.run, bench.device) for _ in range(3)]
    seconds = {name: sorted(run.get(name, 0.0) for run in runs)[1] for name in runs[0]}
    counts = count_complexity(bench.cfg, bench.size).parts
    for part in counts.values():
        part.layers, part.products, part.moved = (bench.batch * n for n in (part.layers, part.products, part.moved))
    head = f'peak {peak / 1e9:.0f} GFLOP/s of a matrix product, {bandwidth / 1e9:.1f} GB/s of a copy\n'
    return head + roofline_table(seconds, counts, peak, bandwidth)
