"""Weak scaling: the same work for every process, on 1, 2, 4, 8 processes of this machine, over gloo.

``python -m benchmarks.processes [CONFIG]`` prints the time of an update, the share of it that goes into the exchange of
gradients, and the bytes that every process sends. On a machine with fewer cores than processes they share these, so
that time grows with their number; what is read off is what a process costs besides, and the bytes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

from mmmtl.analysis.plan import workload_of
from mmmtl.apis.model import build_model
from mmmtl.config import load_config
from mmmtl.engine.communication import CommunicationClock
from mmmtl.registry import register_all_modules
from mmmtl.utils.tables import format_table


def measure(config: str, batch: int, size: int, steps: int) -> dict[str, float]:
    """What one process measures: seconds of an update, of its processor, and of the exchange; bytes of its memory."""
    from mmengine.registry import DATASETS
    from mmengine.runner import Runner

    torch.set_num_threads(1)
    os.environ.setdefault('LOCAL_RANK', '0')
    dist.init_process_group('gloo')
    register_all_modules()
    options = {'train_dataloader.batch_size': batch, 'train_dataloader.num_workers': 0}
    shape = 'crop_size' if 'crop_size' in load_config(config) else 'size'
    cfg = load_config(config, {**options, shape: (size, size), 'train_dataloader.persistent_workers': False})
    loader = Runner.build_dataloader(dict(cfg.train_dataloader, dataset=DATASETS.build(cfg.train_dataloader.dataset)))
    torch.manual_seed(0)
    network = build_model(cfg, initialize=False).train()
    model = DistributedDataParallel(network) if dist.get_world_size() > 1 else network
    clock = CommunicationClock()
    clock.attach(model)
    data = network.data_preprocessor(next(iter(loader)), True)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)
    taken, used, sent = [], [], []
    for step in range(steps + 1):
        dist.barrier()
        clock.seconds()
        began, processor = time.perf_counter(), time.process_time()
        losses = model(**data, mode='loss')
        sum(value.sum() for name, value in losses.items() if 'loss' in name).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step:  # the first sets libraries up
            taken.append(time.perf_counter() - began)
            used.append(time.process_time() - processor)
            sent.append(clock.seconds())
    with open('/proc/self/statm') as file:
        memory = int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
    return dict(
        seconds=statistics.median(taken),
        processor=statistics.median(used),
        exchange=statistics.median(sent),
        memory=memory,
    )


def launched(processes: int, *arguments: Any) -> dict[str, float]:
    """The mean over the processes of a launch."""
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=f'scaling-{processes}',
        rdzv_backend='c10d',
        rdzv_endpoint='localhost:0',
        start_method='fork',
        monitor_interval=0.1,
    )
    found = elastic_launch(launch, measure)(*arguments)
    return {name: statistics.mean(one[name] for one in found.values()) for name in found[0]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', nargs='?', default='configs/taskdiffusion/vitt_diorama.py')
    parser.add_argument('--processes', nargs='+', type=int, default=[1, 2, 4, 8])
    parser.add_argument('--batch', type=int, default=1, help='images of every process')
    parser.add_argument('--size', type=int, default=64)
    parser.add_argument('--steps', type=int, default=5)
    args = parser.parse_args()
    trained = workload_of(load_config(args.config), (args.size, args.size)).trained
    rows = []
    for count in args.processes:
        found = launched(count, args.config, args.batch, args.size, args.steps)
        rows.append(
            [
                str(count),
                f'{1e3 * found["seconds"]:.0f}',
                f'{1e3 * found["processor"]:.0f}',
                f'{found["exchange"] / found["seconds"]:.0%}',
                f'{8 * trained * (count - 1) / count / 1e6:.1f}',
                f'{found["memory"] / 2**20:.0f}',
                f'{count * args.batch / found["seconds"]:.2f}',
            ]
        )
    header = ['processes', 'update ms', 'processor ms', 'exchange', 'sent MB', 'memory MiB', 'images/s']
    print(f'{args.config} at {args.size} x {args.size}, {args.batch} image(s) a process, {os.cpu_count()} cores\n')
    print(format_table(header, rows, right=tuple(range(7))))


if __name__ == '__main__':
    main()
