"""What a training sample costs on one core, stage by stage, and whether it is the published one bit for bit.

    python benchmarks/data.py [--sets pascal nyud diorama] [--samples 6] [--rounds 5] [--size 375 500]

PASCAL-Context and NYUDv2 are written as miniatures with photographs of the usual size (generated scenes, JPEG), and read by
the published recipes. Of PASCAL-Context the literal transcription of the published data flow takes turns with this package,
with the same random numbers; its tensors must be equal. Milliseconds of processor time; of the rounds the fastest counts.
"""

from __future__ import annotations

import os

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ[_name] = '1'  # before numpy is imported

import argparse  # noqa: E402
import random  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator, Sequence  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.reference import pascal_data  # noqa: E402
from mmmtl.config import load_config  # noqa: E402
from mmmtl.datasets.diorama.render import render  # noqa: E402
from mmmtl.datasets.io.pictures import image_size  # noqa: E402
from mmmtl.models.data_preprocessor import MTLDataPreprocessor  # noqa: E402
from mmmtl.registry import DATASETS, register_all_modules  # noqa: E402
from mmmtl.utils.seeding import stable_hash  # noqa: E402
from mmmtl.utils.tables import format_table  # noqa: E402
from tests.miniatures.nyudv2 import write_nyudv2  # noqa: E402
from tests.miniatures.pascal_context import write_pascal_context  # noqa: E402

GOALS = {'pascal': 35.0, 'nyud': 35.0, 'diorama': 3.0}
"""Milliseconds of a sample."""


class Clock:
    """Milliseconds of processor time by stage."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self.last = time.process_time()

    def start(self) -> None:
        """From now."""
        self.last = time.process_time()

    def __call__(self, stage: str) -> None:
        now = time.process_time()
        self.spent[stage] = self.spent.get(stage, 0.0) + 1000 * (now - self.last)
        self.last = now


class Draw(int):
    """An index with the number of its draw, as a training sampler yields it."""

    draw: int


def drawn(index: int, draw: int) -> Draw:
    """Sample ``index`` in its ``draw``-th appearance."""
    found = Draw(index)
    found.draw = draw
    return found


def staged(dataset: Any, index: Draw, clock: Clock) -> dict[str, Any]:
    """A sample of a data set, each part of its way on the clock."""
    info = dataset.get_data_info(int(index))
    clock.start()
    image = dataset.load_image(info)
    clock('photograph')
    info['img_size'] = image.shape[:2]
    for name in dataset.labels[info['sample_id']]:
        dataset.load_label(info, name)
        clock(f'label, {name}')
    results = dataset.load_sample(int(index))
    results['rng'] = random.Random(stable_hash(dataset.seed, results['sample_id'], index.draw))
    clock.start()
    for step in dataset.pipeline.transforms:
        results = step(results)
        clock(type(step).__name__)
    return results


def ordinary(dataset: Any, index: int) -> bool:
    """Whether all files of a sample of PASCAL-Context have the size of its photograph, as those of the data set have."""
    info = dataset.get_data_info(index)
    return image_size(dataset.label_file(info, 'normals')) == image_size(info['img_path'])


def published_inputs(dataset: Any, index: int) -> tuple[dict[str, str], dict[str, np.ndarray], Sequence[int]]:
    """What :func:`benchmarks.reference.pascal_data.sample` reads."""
    info = dataset.get_data_info(index)
    files = {n: dataset.label_file(info, n) for n in ('semseg', 'saliency', 'normals')}
    derived = {'context': dataset._context(info), 'boundary': dataset._boundary(info)}
    derived['human_parts'] = dataset.load_human_parts({**info, 'img_size': derived['context'].shape})
    return {**files, 'image': info['img_path']}, derived, np.nonzero(dataset.trusted)[0].tolist()


def differences(packed: dict[str, Any], published: pascal_data.Maps) -> dict[str, float]:
    """Largest difference per map between a packed sample and the published one; unknown is 255 in both."""
    batch = MTLDataPreprocessor()({k: [v] for k, v in packed.items()})
    found = {'image': batch['inputs'][0], **dict(packed['data_samples'].gt.items())}
    apart = {}
    for name, expected in published.items():
        value = torch.nan_to_num(found[name].float(), nan=pascal_data.UNKNOWN)
        apart[name] = (value - torch.from_numpy(expected)).abs().max().item()
    return apart


def datasets(root: Path, samples: int, size: tuple[int, int], which: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Training sets of the published recipes on miniatures."""
    for name, write, config in (
        ('pascal', write_pascal_context, 'taskdiffusion/vitb_pascal.py'),
        ('nyud', write_nyudv2, 'taskdiffusion/vitl_nyud.py'),
    ):
        if name in which:
            folder = root / name
            write(folder, samples, 1, size if name == 'pascal' else (425, 560))
            cfg: Any = load_config(str(ROOT / 'configs' / config), {'data_root': str(folder)})
            dataset = DATASETS.build(cfg.train_dataloader.dataset)
            for index in range(len(dataset)):
                dataset[drawn(index, 0)]  # fills the cache of derived labels
            yield name, dataset


def fastest(rounds: int, *runs: Callable[[Clock, int], None]) -> list[Clock]:
    """The fastest round of each run; the runs take turns."""
    best: list[Clock | None] = [None] * len(runs)
    for number in range(rounds):
        for place, run in enumerate(runs):
            clock = Clock()
            run(clock, number)
            kept = best[place]
            if kept is None or sum(clock.spent.values()) < sum(kept.spent.values()):
                best[place] = clock
    return [clock for clock in best if clock is not None]


def print_stages(title: str, clock: Clock, count: int, whole: float | None = None) -> float:
    """A table of milliseconds per sample; returns the sum."""
    total = whole if whole is not None else sum(clock.spent.values()) / count
    rows = [[stage, f'{spent / count:.2f}'] for stage, spent in clock.spent.items()]
    print(format_table([title, 'ms'], [*rows, ['a sample', f'{total:.2f}']], right=(1,)))
    print(f'{1000 / total:.0f} samples a second per worker\n', flush=True)
    return total


def measure(name: str, dataset: Any, rounds: int, draws: int) -> float:
    """Ours by stage, the whole sample as a worker makes it, and (PASCAL-Context) the transcription."""
    usable = [i for i in range(len(dataset)) if name != 'pascal' or ordinary(dataset, i)]
    indices = [drawn(i, d) for d in range(draws) for i in usable]
    inputs = [published_inputs(dataset, int(i)) for i in indices] if name == 'pascal' else []
    size = next((t.size for t in dataset.pipeline.transforms if hasattr(t, 'category_task')), None)

    def stages(clock: Clock, number: int) -> None:
        for index in indices:
            staged(dataset, index, clock)

    def whole(clock: Clock, number: int) -> None:
        clock.start()
        for index in indices:
            dataset[index]
        clock('a sample')

    def published(clock: Clock, number: int) -> None:
        for index, arguments in zip(indices, inputs):
            sample_id = dataset.get_data_info(int(index))['sample_id']
            rng = random.Random(stable_hash(dataset.seed, sample_id, index.draw))
            clock.start()
            pascal_data.sample(*arguments, rng, size, clock)

    runs = [stages, whole, *([published] if inputs else [])]
    clocks = fastest(rounds, *runs)
    ours = print_stages(f'{name}, here', clocks[0], len(indices), clocks[1].spent['a sample'] / len(indices))
    if inputs:
        theirs = print_stages(f'{name}, as published', clocks[2], len(indices))
        apart: dict[str, float] = {}
        for index, arguments in zip(indices, inputs):
            sample_id = dataset.get_data_info(int(index))['sample_id']
            rng = random.Random(stable_hash(dataset.seed, sample_id, index.draw))
            for key, value in differences(dataset[index], pascal_data.sample(*arguments, rng, size)).items():
                apart[key] = float(np.maximum(apart.get(key, 0.0), value))
        listed = ', '.join(f'{k} {v:.1e}' for k, v in apart.items())
        print(f'{theirs / ours:.2f} times the published speed; largest differences: {listed}\n')
    return ours


def measure_diorama(rounds: int, scenes: int = 40) -> float:
    """A scene of 64 x 64 pixels with ten labels."""

    def scenes_of(clock: Clock, number: int) -> None:
        clock.start()
        for index in range(scenes):
            render(0, index, (64, 64), 1)
        clock('render')

    (clock,) = fastest(rounds, scenes_of)
    return print_stages('diorama, 64 x 64', clock, scenes)


def main(argv: Sequence[str] | None = None) -> dict[str, float]:
    """Command line; returns milliseconds of a sample by data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--sets', nargs='+', choices=GOALS, default=list(GOALS))
    parser.add_argument('--samples', type=int, default=6, help='samples of each data set')
    parser.add_argument('--draws', type=int, default=2, help='how often each is drawn')
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--size', type=int, nargs=2, default=(375, 500), metavar=('H', 'W'), help='of the photographs')
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    register_all_modules()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, dataset in datasets(Path(folder), args.samples, tuple(args.size), args.sets):
            found[name] = measure(name, dataset, args.rounds, args.draws)
    if 'diorama' in args.sets:
        found['diorama'] = measure_diorama(args.rounds)
    for name, spent in found.items():
        print(f'{name}: {spent:.2f} ms a sample (goal {GOALS[name]:g})')
    return found


if __name__ == '__main__':
    main()
