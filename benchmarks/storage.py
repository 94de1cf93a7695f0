"""Samples per second from loose files, from shards and by HTTP, and how much more is read than samples need.

python benchmarks/storage.py [--samples 300] [--size 384 512] [--dir DIR]

A folder of photographs with class maps, depths (16 bits) and normals (.npy) is written, put into shards, and read three ways,
one label an image, decoded as training decodes them. Everything is in the page cache: what is compared is the way to the
bytes. Read amplification is bytes that left the store over bytes of the files that visible labels and images have.
"""

from __future__ import annotations

import os

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ[_name] = '1'  # before numpy is imported

import argparse  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import cv2  # noqa: E402
import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mmmtl.datasets import FolderDataset, IndexedDataset, MTLDataset  # noqa: E402
from mmmtl.datasets.preparation.sharding import make_shards  # noqa: E402
from mmmtl.ops.allocator import keep_freed_memory  # noqa: E402
from tests.test_datasets.faulty_server import serving  # noqa: E402

TASKS: dict[str, Any] = dict(
    semseg=dict(type='SemanticSegmentation', classes=20), depth=dict(type='Depth'), normals=dict(type='SurfaceNormals')
)


def write_collection(root: Path, samples: int, size: tuple[int, int]) -> dict[str, Any]:
    """Write the folder; returns the config of its data set."""
    rng = np.random.default_rng(0)
    small = (size[0] // 8, size[1] // 8)
    for name in ('images', *TASKS):
        (root / name).mkdir(parents=True)
    for k in range(samples):
        photograph = cv2.resize(rng.integers(0, 256, (*small, 3), np.uint8), size[::-1])
        cv2.imwrite(str(root / f'images/{k:06d}.jpg'), photograph)
        classes = cv2.resize(rng.integers(0, 20, small).astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST)
        cv2.imwrite(str(root / f'semseg/{k:06d}.png'), classes)
        depth = cv2.resize(rng.integers(500, 9000, small).astype(np.uint16), size[::-1])
        cv2.imwrite(str(root / f'depth/{k:06d}.png'), depth)
        vectors = rng.normal(size=(*size, 3)).astype(np.float32)
        np.save(root / f'normals/{k:06d}.npy', vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
    return dict(type='FolderDataset', data_root=str(root), tasks=TASKS, formats=dict(depth=dict(scale=0.001)))


def rate(dataset: MTLDataset, rounds: int = 3) -> float:
    """Samples per second in a seeded random order, the best of some rounds."""
    order = np.random.default_rng(1).permutation(len(dataset)).tolist()
    best = float('inf')
    for _ in range(rounds):
        start = time.perf_counter()
        for k in order:
            dataset[k]
        best = min(best, time.perf_counter() - start)
    return len(order) / best


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    parser.add_argument('--samples', type=int, default=300)
    parser.add_argument('--size', type=int, nargs=2, default=(384, 512))
    parser.add_argument('--dir', help='where the files go (default: a temporary folder)')
    args = parser.parse_args()
    keep_freed_memory()  # as in a training, or bytes of files cost more to hold than to read
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        os.environ['XDG_CACHE_HOME'] = str(Path(folder, 'cache'))
        config = write_collection(Path(folder, 'data'), args.samples, tuple(args.size))
        make_shards(config, str(Path(folder, 'shards')), '64MB', progress=False)
        sampler = dict(type='OneLabel', seed=0)
        loose = FolderDataset(**{k: v for k, v in config.items() if k != 'type'}, label_sampler=sampler)
        shards = IndexedDataset(str(Path(folder, 'shards')), TASKS, label_sampler=sampler)
        needed = 0
        for k in range(len(loose)):
            info = loose.get_data_info(k)
            paths = [info['img_path'], *(info['paths'][task] for task in loose.visible(k))]
            needed += sum(os.path.getsize(path) for path in paths)
        print(f'{"":24}{"samples/s":>12}{"read amplification":>22}')
        print(f'{"loose files":24}{rate(loose):12.1f}{1.0:22.3f}')
        print(f'{"shards":24}{rate(shards):12.1f}{1.0:22.3f}')
        with serving(Path(folder)) as server:
            remote = IndexedDataset(f'{server.url}/shards', TASKS, label_sampler=sampler)
            server.requests.clear()
            found = rate(remote, 1)
            sent = sum(size for path, _, size in server.requests if path.endswith('.tar'))
            print(f'{"shards by HTTP":24}{found:12.1f}{sent / needed:22.3f}')


if __name__ == '__main__':
    main()
