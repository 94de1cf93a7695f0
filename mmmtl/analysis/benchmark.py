"""How fast a network runs, where the time goes, and how near that is to what the machine can do."""

from __future__ import annotations

import gc
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor, nn

from mmmtl.apis.model import build_model, forget_pretrained, quiet
from mmmtl.errors import ConfigError
from mmmtl.models.sizes import input_size
from mmmtl.ops.allocator import live_memory
from mmmtl.ops.inference import optimize_for_inference
from mmmtl.utils.tables import format_table

from .complexity import count_complexity, parts_of

MODES = ('predict', 'train')


def interleaved(
    runs: Mapping[str, Callable[[], Any]], repeats: int, warmup: int = 1, device: torch.device | str = 'cpu'
) -> dict[str, list[float]]:
    """Seconds of every run, measured in turns so that a change of the machine's load meets all of them."""
    for run in runs.values():
        for _ in range(warmup):
            run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            _wait(device)
            start = time.perf_counter()
            run()
            _wait(device)
            seconds[name].append(time.perf_counter() - start)
    return seconds


def _wait(device: torch.device | str) -> None:
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)


def matmul_peak(device: torch.device | str = 'cpu', dtype: torch.dtype = torch.float32, size: int = 2048) -> float:
    """Best FLOP/s of a square matrix product on this machine, by any of PyTorch's libraries."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    side = size // 64
    image = a.reshape(1, side, size // side, size).permute(0, 3, 1, 2)
    runs = {'product': lambda: a @ b, 'convolution': lambda: nn.functional.conv2d(image, b[:, :, None, None])}
    with torch.no_grad():
        seconds = interleaved(runs, 6, 2, device)
    return 2 * size**3 / min(min(times) for times in seconds.values())


def _resident() -> int:
    """Bytes of this process in memory (Linux)."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * 4096


def peak_memory(run: Callable[[], Any], device: torch.device | str = 'cpu', parameters: Iterable[Tensor] = ()) -> int:
    """Bytes that ``run`` takes at its peak, above what the process holds before.

    On a CPU the resident memory is sampled every millisecond (Linux only; 0 elsewhere). What the process freed before may
    hide some of it: measure memory before time, and all of that inside :func:`live_memory`.

    Args:
        run: What is measured.
        device: Where it runs.
        parameters: Their gradients are dropped before, and those that ``run`` leaves are not counted.
    """
    parameters = list(parameters)
    for parameter in parameters:
        parameter.grad = None
    gc.collect()
    peak = _peak(run, device)
    return peak - sum(p.grad.numel() * p.grad.element_size() for p in parameters if p.grad is not None)


def _peak(run: Callable[[], Any], device: torch.device | str) -> int:
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if not sys.platform.startswith('linux'):
        return 0
    with live_memory():
        before, peak, done = _resident(), [0], threading.Event()

        def watch() -> None:
            while not done.wait(0.001):
                peak[0] = max(peak[0], _resident())

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        run()
        peak[0] = max(peak[0], _resident())
        done.set()
        watcher.join()
    return peak[0] - before


def random_targets(
    tasks: Mapping[str, Any],
    size: tuple[int, int],
    batch: int,
    device: torch.device | str = 'cpu',
    seed: int = 0,
    one_label: bool = False,
) -> dict[str, tuple[Tensor, Tensor]]:
    """Random labels, with a tenth of the pixels unknown: of all tasks for every sample, or of one task for each."""
    generator, samples = torch.Generator().manual_seed(seed), torch.arange(batch, device=device)
    targets = {}
    for position, (name, task) in enumerate(tasks.items()):
        index = samples[position :: len(tasks)] if one_label else samples
        if not len(index):
            continue
        unknown = torch.rand(batch, *size, generator=generator) < 0.1
        if task.categorical:
            classes = getattr(task, 'num_classes', 2)
            label = torch.randint(0, classes, (batch, *size), generator=generator).masked_fill(unknown, 255)
        else:
            label = torch.rand(batch, task.label_channels, *size, generator=generator)
            label = (label / label.norm(dim=1, keepdim=True)).masked_fill(unknown[:, None], float('nan'))
        targets[name] = (index, label[index.cpu()].to(device))
    return targets


def part_times(model: nn.Module, run: Callable[[], Any], device: torch.device | str = 'cpu') -> dict[str, float]:
    """Seconds of one ``run`` spent in each part of the network (its children, and those of its decoder)."""
    seconds: dict[str, float] = {}
    started: dict[str, float] = {}
    modules = dict(model.named_modules())
    handles = []
    for name in parts_of(model):
        called = [modules[name]] if type(modules[name]).forward is not nn.Module.forward else []
        containers = (nn.ModuleList, nn.ModuleDict)
        if isinstance(modules[name], containers):  # a container is never called; what it holds is
            called = [m for m in modules[name].modules() if not isinstance(m, containers) and m is not modules[name]]
            called = [m for m in called if not any(m is not o and m in set(o.modules()) for o in called)]

        def enter(*_: Any, name: str = name) -> None:
            _wait(device)
            started[name] = time.perf_counter()

        def leave(*_: Any, name: str = name) -> None:
            _wait(device)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started[name]

        for module in called:
            handles += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    start = time.perf_counter()
    try:
        run()
        _wait(device)
    finally:
        for handle in handles:
            handle.remove()
    whole = time.perf_counter() - start
    return {**seconds, 'everything else': max(whole - sum(seconds.values()), 0.0)}


@dataclass
class Speed:
    """What was measured.

    Attributes:
        seconds: Of every repeat.
        memory: Peak bytes above what was held before; in training without the gradients.
        flops: FLOPs of one prediction of the batch (0 in training, where they are not counted).
        peak: FLOP/s of the machine's matrix product.
        parts: Seconds per part.
    """

    seconds: list[float]
    memory: int
    flops: float = 0.0
    peak: float = 0.0
    parts: dict[str, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Median seconds."""
        return statistics.median(self.seconds)

    def lines(self, name: str) -> list[str]:
        """The figures as text."""
        lines = [
            f'{name}: median {self.median:.3f} s, best {min(self.seconds):.3f} s of {len(self.seconds)}, '
            f'peak memory {self.memory / 2**20:.0f} MiB'
        ]
        if self.flops and self.peak:
            share = self.flops / min(self.seconds) / self.peak
            lines.append(
                f'  {self.flops / 2e9:.1f} G multiply-accumulates, {100 * share:.0f} % of the peak of '
                f'{self.peak / 1e9:.0f} GFLOP/s'
            )
        return lines


class Benchmark:
    """A network of a config with a random batch, and what can be measured of it.

    Args:
        cfg: The config.
        mode: ``predict`` (raw maps of a batch) or ``train`` (losses and gradients).
        size: (H, W) of the input; default: the config's.
        batch: Images.
        device: Device.
        amp: Run under bfloat16 autocast.
        compiled: Pass the network through ``torch.compile``.
        seed: Seed of weights and inputs.
        one_label: Train with one label for every image instead of all.
        optimize: Predict with :func:`~mmmtl.ops.inference.optimize_for_inference`.

    Raises:
        ConfigError: Unknown mode.
    """

    def __init__(
        self,
        cfg: Config,
        mode: str = 'predict',
        size: Sequence[int] | None = None,
        batch: int = 1,
        device: str = 'cpu',
        amp: bool = False,
        compiled: bool = False,
        seed: int = 0,
        one_label: bool = False,
        optimize: bool = True,
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f"mode must be one of {MODES}, got '{mode}'")
        self.cfg, self.mode, self.batch, self.device, self.amp = cfg, mode, batch, device, amp
        self.size: tuple[int, int] = (size[0], size[-1]) if size is not None else input_size(cfg)
        forget_pretrained(cfg.model)
        torch.manual_seed(seed)
        with quiet():
            self.model = build_model(cfg, initialize=False).to(device).train(mode == 'train')
        if optimize and mode == 'predict':
            optimize_for_inference(self.model)
        frames = getattr(self.model, 'frames', 1)
        shape = (batch, 3, *self.size) if frames == 1 else (batch, frames, 3, *self.size)
        self.inputs = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
        self.targets = random_targets(self.model.tasks, self.size, batch, device, seed, one_label)
        self.network = torch.compile(self.model) if compiled else self.model

    def autocast(self) -> AbstractContextManager:
        """The precision of the run."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16) if self.amp else nullcontext()

    def run(self, noise: Any = None) -> Any:
        """Raw maps, or named losses with the gradients left in the network."""
        if self.mode == 'predict':
            with torch.no_grad(), self.autocast():
                return self.network(self.inputs, noise=noise)
        for parameter in self.model.parameters():
            parameter.grad = None
        with self.autocast():
            losses = self.network(self.inputs, mode='loss', targets=self.targets, noise=noise)
        sum(losses.values()).backward()
        return losses

    def measure_memory(self) -> int:
        """Peak bytes of one run, without what the gradients take."""
        return peak_memory(self.run, self.device, self.model.parameters())

    def measure(
        self,
        repeats: int = 5,
        others: Mapping[str, Callable[[], Any]] | None = None,
        parts: bool = True,
        noise: Any = None,
        memory: int | None = None,
    ) -> tuple[Speed, dict[str, list[float]]]:
        """Measure this network, in turns with ``others``; returns its figures and the others' seconds.

        Args:
            repeats: Measurements.
            others: What to measure in turns with it.
            parts: Measure the parts too.
            noise: Draws to use instead of fresh ones, as the others do.
            memory: Peak memory, where it was measured already.
        """
        memory = self.measure_memory() if memory is None else memory
        seconds = interleaved({'this': lambda: self.run(noise), **(others or {})}, repeats, device=self.device)
        dtype = torch.bfloat16 if self.amp else torch.float32
        speed = Speed(seconds.pop('this'), memory, peak=matmul_peak(self.device, dtype))
        if self.mode == 'predict':
            whole = count_complexity(self.cfg, self.size).total()
            speed.flops = 2.0 * self.batch * (whole.layers + whole.products)
        if parts:
            speed.parts = part_times(self.model, self.run, self.device)
        return speed, seconds


def parts_table(parts: Mapping[str, float]) -> str:
    """Seconds by part as text."""
    whole = sum(parts.values())
    rows = [[name, f'{1e3 * s:.1f}', f'{100 * s / whole:.0f} %'] for name, s in parts.items()]
    return format_table(['part (forward)', 'ms', 'share'], rows, right=(1, 2))
