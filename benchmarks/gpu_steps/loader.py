"""How many samples a second the data loader gives, beside how many a training step takes."""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from mmmtl.config import load_config
from mmmtl.registry import DATASETS

from .models import CASES, ROOT, TINY, build
from .rows import Rows, Setting, seconds_of


def rate(workers: int, size: tuple[int, int], count: int) -> float:
    """Samples per second of rendered scenes with all labels, after the first."""
    cfg: Any = load_config(str(ROOT / 'configs/taskdiffusion/vitt_diorama.py'), {'crop_size': size})
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, length=count))
    loader = torch.utils.data.DataLoader(
        dataset, num_workers=workers, collate_fn=list, multiprocessing_context='fork' if workers else None
    )
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    given = sum(1 for _ in batches)
    return given / (time.perf_counter() - start)


def measure(setting: Setting, rows: Rows) -> None:
    """The loader by its workers, then the step's appetite."""
    case, cores = (TINY if setting.tiny else CASES)[0], os.cpu_count() or 1
    for workers in (0, 1) if setting.tiny else (0, 1, 2, 4, 8, cores):
        with rows.trying(workers=workers):
            found = rate(workers, case.size, 8 if setting.tiny else 16 * max(workers, 1))
            rows.add(workers=workers, size=list(case.size), samples_s=found)
    with rows.trying(what='training step'):
        bench = build(case, setting, 'train', 2, amp=True)
        (seconds,) = seconds_of([bench.run], setting.device, setting.repeats(10), 5.0, 1)
        rows.add(what='training step', network=case.name, samples_s=2 / seconds)
