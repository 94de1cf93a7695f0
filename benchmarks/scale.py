"""What a collection of ten million partly labelled images costs to open, and what a folder costs without an index.

python benchmarks/scale.py [--rows 10000000] [--dir DIR] [--skip-today]

The rows are synthetic: ids of their own, any of five labels, over sixteen real files, so that samples load. Each figure is
taken in a process of its own. Memory is what a process has for itself (psutil's ``uss``), so what is mapped from files and
shared with others does not count; of the main process, what opening adds.
"""

from __future__ import annotations

import os

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ[_name] = '1'  # before numpy is imported

import argparse  # noqa: E402
import json  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import psutil  # noqa: E402

from mmmtl.datasets import FolderDataset, IndexedDataset, OneLabel  # noqa: E402
from mmmtl.engine.samplers import ResumableSampler  # noqa: E402

TASKS: dict[str, Any] = dict(
    semseg=dict(type='SemanticSegmentation', classes=5),
    depth=dict(type='Depth'),
    normals=dict(type='SurfaceNormals'),
    boundary=dict(type='Boundary'),
    saliency=dict(type='Saliency'),
)
FORMATS = dict(normals=dict(scale=2 / 255, offset=-1))
FILES, GROUP = 16, 1 << 16
TARGETS = {
    'open, s': 2.0,
    'private memory that opening adds, MB': 60.0,
    'private memory of a worker, MB': 60.0,
    'OneLabel once, s': 90.0,
    'training sampler, private memory of 1000 draws, MB': 1.0,
    'first batch, 2 workers, s': 5.0,
}


def private() -> float:
    """Megabytes that this process has for itself."""
    return psutil.Process().memory_full_info().uss / 1e6


def write_files(root: Path) -> None:
    """Sixteen photographs with five labels each."""
    rng = np.random.default_rng(0)
    for k in range(FILES):
        pictures = dict(
            images=rng.integers(0, 256, (64, 64, 3), np.uint8),
            semseg=rng.integers(0, 5, (64, 64)).astype(np.uint8),
            depth=rng.integers(1, 9, (64, 64)).astype(np.uint16),
            normals=np.full((64, 64, 3), (255, 128, 128), np.uint8),
            boundary=rng.integers(0, 2, (64, 64)).astype(np.uint8),
            saliency=rng.integers(0, 2, (64, 64)).astype(np.uint8),
        )
        for name, picture in pictures.items():
            (root / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name / f'{k}.{"jpg" if name == "images" else "png"}'), picture)


def write_synthetic(root: Path, rows: int) -> str:
    """An index of ``rows`` samples; returns its path."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from mmmtl.datasets.index_file import VERSION, pack
    from mmmtl.datasets.preparation.indexing import schema_of, write_index

    sources = sorted(TASKS)
    infos, files = [], []
    for kinds in range(2 ** len(sources)):
        for k in range(FILES):
            paths = {s: str(root / s / f'{k}.png') for bit, s in enumerate(sources) if kinds >> bit & 1}
            image = str(root / 'images' / f'{k}.jpg')
            infos.append(pack(dict(img_path=image, paths=paths), ' ', str(root)))
            files.append(pack({'image': [image], **{s: [p] for s, p in paths.items()}}, ' ', str(root)))

    def tables() -> Iterator[Any]:
        for start in range(0, rows, GROUP):
            n = min(GROUP, rows - start)
            rng = np.random.default_rng(start)
            kinds = rng.integers(1, 2 ** len(sources), n)
            code = pa.array(kinds * FILES + rng.integers(0, FILES, n))
            count = np.bitwise_count(kinds) + 1
            ends = pa.array(np.concatenate([[0], np.cumsum(count)]).astype(np.int32))
            numbers = rng.integers(1_000, 400_000, int(count.sum()))
            yield pa.table(
                dict(
                    id=pc.utf8_lpad(pa.array(np.arange(start, start + n)).cast(pa.string()), 9, '0'),
                    info=pa.array(infos).take(code),
                    files=pa.array(files).take(code),
                    **{f'label.{s}': pa.array((kinds >> bit & 1).astype(bool)) for bit, s in enumerate(sources)},
                    sizes=pa.ListArray.from_arrays(ends, pa.array(numbers)),
                    changed=pa.ListArray.from_arrays(ends, pa.array(np.full(len(numbers), 1_700_000_000 * 10**9))),
                ),
                schema=schema_of(sources, {}),
            )

    about = dict(
        version=VERSION,
        reader=dict(type='FolderDataset', formats=FORMATS),
        root=str(root),
        split='train',
        tasks=json.dumps(TASKS),
        state=dict(numbers={}),
        remarks=[],
        sources=sources,
        pairs=False,
        rows=rows,
    )
    path = str(root / 'index.parquet')
    write_index(path, about, tables(), schema_of(sources, {}))
    return path


def indexed(path: str, sampler: str = 'OneLabel') -> IndexedDataset:
    """The synthetic collection."""
    return IndexedDataset(path, TASKS, label_sampler=dict(type=sampler, seed=1))


def first_open(path: str) -> dict[str, float]:
    """Opening it for the first time: the copy of the columns, then the decision of the labels."""
    start = time.perf_counter()
    indexed(path, 'FullLabels')
    copied = time.perf_counter()
    indexed(path)
    return {'columns copied once, s': copied - start, 'OneLabel once, s': time.perf_counter() - copied}


def later_open(path: str) -> dict[str, float]:
    """Opening it again, drawing from it, and the first batch of a data loader."""
    from torch.utils.data import DataLoader

    import mmmtl.datasets.index_file as index_file

    index_file.arrow()
    before, start = private(), time.perf_counter()
    data = indexed(path)
    opened, after = time.perf_counter(), private()
    sampler = ResumableSampler(data, seed=1)
    sampler.set_start(7 * len(data) // 2)
    draws, begun = iter(sampler), time.perf_counter()
    for _ in range(1000):
        next(draws)
    drawn, held = time.perf_counter(), private()
    loader = DataLoader(data, batch_size=8, sampler=ResumableSampler(data, seed=1), num_workers=2, collate_fn=list)
    batches = iter(loader)
    next(batches)
    arrived = time.perf_counter()
    for _ in range(50):
        next(batches)
    workers = [p.memory_full_info().uss / 1e6 for p in psutil.Process().children(recursive=True)]
    return {
        'open, s': opened - start,
        'private memory that opening adds, MB': after - before,
        'private memory of a worker, MB': max(workers),
        'training sampler, µs a draw': (drawn - begun) * 1e3,
        'training sampler, private memory of 1000 draws, MB': max(held - after, 0.0),
        'first batch, 2 workers, s': arrived - drawn,
    }


def walked(root: str, rows: str) -> dict[str, float]:
    """A folder of empty files without an index, each sample with some of five labels."""
    folder, count = Path(root, rows), int(rows)
    for name in ('images', *TASKS):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            if name == 'images' or (k + len(name)) % 3:
                (folder / name / f'{k:08d}.{"jpg" if name == "images" else "png"}').touch()
    before, start = private(), time.perf_counter()
    data = FolderDataset(TASKS, str(folder), label_sampler=dict(type='OneLabel', seed=1))
    return {
        'open, s': time.perf_counter() - start,
        'private memory that opening adds, MB': private() - before,
        'OneLabel once, s': decided(count),
        'samples': len(data),
    }


def decided(count: int) -> float:
    """Seconds in which ``OneLabel`` decides through names."""
    available = {f'{k:09d}': list(TASKS) for k in range(count)}
    start = time.perf_counter()
    OneLabel(seed=1).assign(available, list(TASKS))
    return time.perf_counter() - start


def apart(function: str, *arguments: str) -> dict[str, float]:
    """What a function of this file returns in a process of its own."""
    done = subprocess.run(
        [sys.executable, __file__, '--call', function, *arguments], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--rows', type=int, default=10_000_000)
    parser.add_argument('--dir', help='where the files go (default: a temporary folder)')
    parser.add_argument('--skip-today', action='store_true', help='leave out the folders without an index')
    parser.add_argument('--call', nargs='+', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        print(json.dumps(globals()[args.call[0]](*args.call[1:])))
        return
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        if not args.skip_today:
            print(f'{"walked, without an index":52}{"open, s":>10}{"MB":>10}{"OneLabel, s":>13}')
            for rows in ('10000', '100000'):
                found = apart('walked', folder, rows)
                row = [found[k] for k in ('open, s', 'private memory that opening adds, MB', 'OneLabel once, s')]
                print(f'{rows + " samples":52}{row[0]:10.1f}{row[1]:10.0f}{row[2]:13.1f}', flush=True)
            print(f'{"1000000 synthetic ids":52}{"":20}{decided(1_000_000):13.1f}', flush=True)
        root = Path(folder, 'synthetic')
        write_files(root)
        start = time.perf_counter()
        path = write_synthetic(root, args.rows)
        made = time.perf_counter() - start
        found = apart('first_open', path) | apart('later_open', path)
        used = sum(p.stat().st_size for p in root.rglob('*') if p.is_file()) / 1e9
        print(f'{f"an index of {args.rows} rows":52}{"target":>10}{"measured":>12}')
        for name, value in found.items():
            print(f'{name:52}{TARGETS.get(name, ""):>10}{value:12.2f}')
        print(f'{"written in, s":62}{made:12.0f}\n{"on the disk, GB":62}{used:12.2f}')
    print(f'{"all of this, s":62}{time.perf_counter() - begun:12.0f}')


if __name__ == '__main__':
    main()
