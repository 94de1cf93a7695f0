"""Training by the ordinary command on the device: a run that goes on bit for bit, two processes with DDP, and FSDP."""

from __future__ import annotations

import os
import socket
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing

from mmmtl.apis import train
from mmmtl.config import load_config
from mmmtl.utils.tensor_files import read_torch

from .models import ROOT, SMALL
from .rows import Rows, Setting

PLAIN, SHARDED = 'taskdiffusion/vitt_diorama.py', 'stablemtl/tiny_diorama_multistream_fsdp.py'


def config_of(name: str, iterations: int, planned: int) -> Any:
    """A shipped config at a size that trains in seconds, ended after ``iterations`` of those ``planned``."""
    options: dict[str, Any] = {
        'crop_size': (32, 32),
        'max_iters': planned,
        'batch_size': 2,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'train_cfg.max_iters': iterations,
        'default_hooks.checkpoint.interval': iterations,
        'default_hooks.checkpoint.max_keep_ckpts': 2,
        'log_level': 'ERROR',
    }
    if name == PLAIN:
        options.update(SMALL)
    else:
        options['model.single_stream'] = None
    cfg = load_config(str(ROOT / 'configs' / name), options)
    for section in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        cfg[section] = None
    return cfg


def weights(folder: str) -> dict[str, torch.Tensor]:
    """State dict of the last checkpoint of a run."""
    newest = sorted(Path(folder).glob('iter_*.pth'), key=lambda p: int(p.stem.split('_')[1]))[-1]
    return read_torch(newest)['state_dict']


def _rank(name: str, iterations: int, rank: int, port: int, backend: str, folder: str, errors: Any) -> None:
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='localhost', MASTER_PORT=str(port)
    )
    torch.set_num_threads(1)
    try:
        cfg = config_of(name, iterations, iterations)
        cfg.env_cfg.dist_cfg = dict(backend=backend)
        train(cfg, folder, launcher='pytorch')
    except BaseException as error:  # told to the parent, which goes on
        errors.put(f'{type(error).__name__}: {error} {traceback.format_exc().splitlines()[-3].strip()}')
        os._exit(1)
    os._exit(0)


def two_processes(name: str, iterations: int, backend: str, folder: str, setting: Setting, limit: float) -> None:
    """Train in two processes on the one device; raises with what went wrong in one of them."""
    context = multiprocessing.get_context('fork' if setting.kind == 'cpu' else 'spawn')
    with socket.socket() as listener:
        listener.bind(('localhost', 0))
        port = listener.getsockname()[1]
    errors = context.SimpleQueue()
    ranks = [
        context.Process(target=_rank, args=(name, iterations, rank, port, backend, folder, errors)) for rank in range(2)
    ]
    until = time.monotonic() + limit
    for process in ranks:
        process.start()
    while any(p.is_alive() for p in ranks) and all(p.exitcode in (None, 0) for p in ranks) and time.monotonic() < until:
        time.sleep(0.05)
    late = any(p.is_alive() for p in ranks)
    for process in ranks:
        process.kill() if process.is_alive() else None
        process.join()
    if not errors.empty():
        raise RuntimeError(errors.get())
    if late or any(p.exitcode for p in ranks):
        raise RuntimeError(f'not done within {limit:.0f} s' if late else 'a process ended without a word')


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def measure(setting: Setting, rows: Rows) -> None:
    """Resume, DDP over gloo and nccl, FSDP over both."""
    iterations = 2 if setting.tiny else 8
    with tempfile.TemporaryDirectory() as root:
        with rows.trying(what='resume, bit for bit'):
            start = time.perf_counter()
            train(config_of(PLAIN, iterations, iterations), f'{root}/straight')
            taken = time.perf_counter() - start
            train(config_of(PLAIN, iterations // 2, iterations), f'{root}/halves')
            train(config_of(PLAIN, iterations, iterations), f'{root}/halves', resume=True)
            equal = same(weights(f'{root}/straight'), weights(f'{root}/halves'))
            rows.add(what='resume, bit for bit', equal=equal, seconds=taken)
        backends = ('gloo',) if setting.kind == 'cpu' else ('gloo', 'nccl')
        for name, way in ((PLAIN, 'DDP'),) if setting.tiny else ((PLAIN, 'DDP'), (SHARDED, 'FSDP')):
            for backend in backends:
                what = f'{way} over {backend}, two processes'
                with rows.trying(what=what):
                    folder, start = f'{root}/{way}_{backend}', time.perf_counter()
                    two_processes(name, iterations, backend, folder, setting, min(60.0, rows.left()))
                    finite = all(
                        torch.isfinite(t).all().item() for t in weights(folder).values() if t.is_floating_point()
                    )
                    rows.add(what=what, finite=finite, seconds=time.perf_counter() - start)
