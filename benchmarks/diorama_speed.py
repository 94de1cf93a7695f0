"""How many Diorama scenes a second one core renders, and how often each class occurs.

python benchmarks/diorama_speed.py [--scenes 100] [--size 128 128] [--rounds 3] [--frequencies]
"""

from __future__ import annotations

import os

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ[_name] = '1'  # before numpy is imported

import argparse  # noqa: E402
import time  # noqa: E402
from collections.abc import Sequence  # noqa: E402

import numpy as np  # noqa: E402

from mmmtl.datasets.diorama.render import CLASSES, PARTS, render  # noqa: E402
from mmmtl.datasets.diorama.scene import describe  # noqa: E402


def measure(scenes: int, size: tuple[int, int], rounds: int) -> None:
    """Print the rates; the cases take turns, so that a busy machine slows all of them alike."""
    cases = {
        'one frame, ten labels': lambda i: render(0, i, size, 1),
        'two frames, ten labels': lambda i: render(0, i, size, 2),
        'description of the scene alone': lambda i: describe(0, i),
    }
    for run in cases.values():
        run(0)
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, run in cases.items():
            wall, cpu = time.perf_counter(), time.process_time()
            for index in range(scenes):
                run(index)
            spent[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    print(f'{size[0]} x {size[1]} pixels, {scenes} scenes, median of {rounds} rounds, one thread')
    for name, times in spent.items():
        wall, cpu = np.median(times, axis=0)
        print(f'{name:32s} {scenes / wall:8.1f} scenes/s ({scenes / cpu:.1f} per second of processor time)')


def frequencies(scenes: int, size: tuple[int, int]) -> None:
    """Print the share of pixels of each class, and the share of scenes that show it."""
    tables: dict[str, tuple[str, ...]] = dict(
        semseg=CLASSES, human_parts=PARTS, saliency=('rest', 'salient'), boundary=('rest', 'boundary')
    )
    counts = {name: np.zeros((scenes, len(names))) for name, names in tables.items()}
    for index in range(scenes):
        made = render(0, index, size)
        for name, names in tables.items():
            counts[name][index] = np.bincount(made[name].ravel(), minlength=len(names))
    for name, names in tables.items():
        share = counts[name].sum(axis=0) / counts[name].sum()
        shown = (counts[name] > 0).mean(axis=0)
        listed = ', '.join(f'{n} {100 * s:.2f} % (in {100 * p:.0f} %)' for n, s, p in zip(names, share, shown))
        print(f'{name}: {listed}')


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--scenes', type=int, default=100)
    parser.add_argument('--size', type=int, nargs=2, default=(128, 128), metavar=('H', 'W'))
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--frequencies', action='store_true', help='print how often each class occurs')
    args = parser.parse_args(argv)
    measure(args.scenes, tuple(args.size), args.rounds)
    if args.frequencies:
        frequencies(args.scenes, tuple(args.size))


if __name__ == '__main__':
    main()
