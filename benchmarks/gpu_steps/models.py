"""Published networks with random weights: latency, throughput, training step, memory, and the published data flow beside them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmmtl.analysis.benchmark import Benchmark, interleaved, peak_memory
from mmmtl.analysis.complexity import count_complexity
from mmmtl.analysis.published import pair_class
from mmmtl.config import load_config
from mmmtl.diffusion.noise import NoiseSource, SampleNoise
from mmmtl.errors import UserError

from .machine import peaks, tensor_float_32
from .on_device import on_device
from .rows import Rows, Setting, seconds_of, wait

ROOT = Path(__file__).resolve().parents[2]
GAIN = 1.05
"""Batches are doubled as long as images per second grow by this factor."""
RANDOM_SD2 = {
    'model.pretrained_unet': None,
    'model.single_stream': None,
    'model.autoencoder.pretrained': None,
    'model.tokens': dict(type='LearnedTokens', length=77, _delete_=True),
}
SMALL = {
    'model.backbone.depth': 4,
    'model.backbone.patch_size': 16,
    'model.backbone.embed_dim': 32,
    'model.neck.channels': 16,
    'only_tasks': ['semseg', 'depth'],
}


@dataclass(frozen=True)
class Case:
    """A network that is measured."""

    name: str
    config: str
    size: tuple[int, int]
    options: dict[str, Any] = field(default_factory=dict)


CASES = (
    Case('TaskDiffusion, ViT-L', 'taskdiffusion/vitl_pascal.py', (512, 512)),
    Case('MLoRE, ViT-L', 'mlore/vitl_pascal.py', (512, 512)),
    Case('DiffusionMTL, ResNet-18', 'diffusionmtl/r18_pascal.py', (512, 512)),
    Case('DiffusionMTL, ViT-L', 'diffusionmtl/vitl_pascal.py', (512, 512)),
    Case('StableMTL, SD2, 176x608', 'stablemtl/sd2_multistream.py', (176, 608), RANDOM_SD2),
    Case('StableMTL, SD2, 512x512', 'stablemtl/sd2_multistream.py', (512, 512), RANDOM_SD2),
)
TINY = (
    Case('TaskDiffusion, small', 'taskdiffusion/vitt_diorama.py', (32, 32), SMALL),
    Case(
        'StableMTL, small',
        'stablemtl/tiny_diorama_multistream.py',
        (32, 32),
        {'model.single_stream': None, 'only_tasks': ['semseg', 'depth']},
    ),
)


class RememberedNoise(NoiseSource):
    """Draws as for a prediction, once: the same tensors again in every later pass, which a CUDA graph may then hold."""

    def __init__(self, batch: int) -> None:
        self.source, self.drawn = SampleNoise(0, [str(i) for i in range(batch)]), dict[str, Tensor]()

    def _draw(self, name: str, shape: Sequence[int], kind: str, index: Tensor | None) -> Tensor:
        return self.source._draw(name, shape, kind, index)

    def normal(self, name: str, shape: Sequence[int], like: Tensor, index: Tensor | None = None) -> Tensor:
        """See the base."""
        if name not in self.drawn:
            self.drawn[name] = super().normal(name, shape, like, index)
        return self.drawn[name]


def build(case: Case, setting: Setting, mode: str, batch: int = 1, **more: Any) -> Benchmark:
    """The network of a case, built where it shall be."""
    options = dict(case.options)
    config = str(ROOT / 'configs' / case.config)
    if load_config(config).model.get('backbone', {}).get('img_size'):
        options.update({'model.backbone.img_size': case.size, 'model.backbone.drop_path_rate': 0.0})
    with on_device(setting.device):
        return Benchmark(load_config(config, options), mode, case.size, batch, setting.device, **more)


def set_batch(bench: Benchmark, batch: int) -> None:
    """The same images again, as a batch of so many."""
    first = bench.inputs[:1]
    bench.batch, bench.inputs = batch, first.expand(batch, *first.shape[1:]).contiguous()


def predictor(bench: Benchmark) -> Callable[[], Any]:
    """A prediction of raw maps from remembered draws."""
    return partial(bench.run, RememberedNoise(bench.batch))


def best_batch(bench: Benchmark, rows: Rows, what: dict[str, Any], setting: Setting, share: float = 0.2) -> None:
    """Double the batch as long as that pays, memory and a ``share`` of the time left allow."""
    until, best = rows.left() * (1 - share), 0.0
    limit = 2 if setting.tiny else 64
    batch = 1
    while batch <= limit:
        set_batch(bench, batch)
        try:
            (seconds,) = seconds_of([predictor(bench)], bench.device, setting.repeats(5), 3.0, 1)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        row = dict(what, batch=batch, ms=1e3 * seconds, images_s=batch / seconds)
        if batch > 1:
            rows.add(**row)
        if row['images_s'] < GAIN * best or rows.left() < until:
            break
        best, batch = row['images_s'], 2 * batch
    set_batch(bench, 1)


def to_channels_last(bench: Benchmark) -> None:
    """Bring weights and inputs into channels-last memory."""
    for parameter in (p for p in bench.model.parameters() if p.ndim == 4):
        parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    if bench.inputs.ndim == 4:
        bench.inputs = bench.inputs.contiguous(memory_format=torch.channels_last)


def graphed(run: Callable[[], Any], device: str) -> Callable[[], Any]:
    """``run`` as a CUDA graph."""
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            run()
    return graph.replay


def predict(case: Case, setting: Setting, rows: Rows, peak: dict[str, float]) -> None:
    """Latency in every form, throughput in the usual ones; compilation, which takes longest, at the end."""
    bench, cuda = build(case, setting, 'predict'), setting.kind == 'cuda'
    counted = count_complexity(bench.cfg, bench.size).total()
    flops = 2.0 * (counted.layers + counted.products)
    forms = [('fp32', False, False, False), ('tf32', True, False, False), ('bf16', True, True, False)]
    forms += [('bf16, channels-last', True, True, True)]
    for form, tf32, amp, last in forms if cuda else (forms[0], forms[2]):
        what = dict(network=case.name, mode='predict', form=form)
        with rows.trying(**what), tensor_float_32(tf32):
            bench.amp = amp
            if last:
                to_channels_last(bench)
            run = predictor(bench)
            memory = peak_memory(run, setting.device)
            (seconds,) = seconds_of([run], setting.device, setting.repeats(20), 3.0, setting.repeats(2))
            best = peak['bfloat16' if amp else 'tf32' if tf32 else 'float32']
            row = dict(what, batch=1, ms=1e3 * seconds, images_s=1 / seconds, peak_mib=memory / 2**20)
            rows.add(**row, share_of_peak=flops / seconds / best)
            if form in ('fp32', 'bf16'):
                best_batch(bench, rows, what, setting)
    if cuda:
        with rows.trying(network=case.name, mode='predict', form='bf16, channels-last, CUDA graph'), torch.no_grad():
            run = predictor(bench)
            run()
            (seconds,) = seconds_of([graphed(run, setting.device)], setting.device, 20, 3.0)
            rows.add(
                network=case.name, mode='predict', form='bf16, channels-last, CUDA graph', batch=1, ms=1e3 * seconds
            )
        with rows.trying(network=case.name, mode='predict', form='bf16, channels-last, compiled'):
            bench.network = torch.compile(bench.model)
            (seconds,) = seconds_of([predictor(bench)], setting.device, 20, 3.0)
            rows.add(network=case.name, mode='predict', form='bf16, channels-last, compiled', batch=1, ms=1e3 * seconds)


def against_published(case: Case, setting: Setting, rows: Rows) -> None:
    """The transcription of the published data flow in turns with this package, fp32 without TF32."""
    what = dict(network=case.name, mode='predict', form='fp32 beside the published data flow')
    with rows.trying(**what), tensor_float_32(False):
        bench = build(case, setting, 'predict')
        try:
            kind = pair_class(bench.model)
        except UserError as error:
            rows.add(**what, note=str(error))
            return
        with on_device(setting.device):
            pair = kind(bench.model, bench.inputs, bench.targets)
            noise = pair.draws()
            apart = pair.compare_predictions(bench.run(noise), pair.run_reference())
            runs = {'ours': lambda: bench.run(noise), 'published': pair.run_reference}
            times = interleaved(runs, setting.repeats(5), setting.repeats(2) - 1, setting.device)
        ours, published = (sorted(times[k])[len(times[k]) // 2] for k in ('ours', 'published'))
        rows.add(**what, ms=1e3 * ours, published_ms=1e3 * published, ratio=published / ours, **apart)


def train_step(case: Case, setting: Setting, rows: Rows) -> None:
    """A step with its optimiser: AdamW as PyTorch chooses it, and fused."""
    with rows.trying(network=case.name, mode='train'):
        bench = build(case, setting, 'train', 2)
        parameters = [p for p in bench.model.parameters() if p.requires_grad]
        for form, amp, fused in (('fp32', False, False), ('bf16', True, False), ('bf16, fused AdamW', True, True)):
            what = dict(network=case.name, mode='train', form=form, batch=2)
            with rows.trying(**what), tensor_float_32(amp):
                bench.amp = amp
                optimizer = torch.optim.AdamW(parameters, lr=1e-6, fused=fused or None)

                def step(optimizer: torch.optim.Optimizer = optimizer) -> None:
                    bench.run()
                    optimizer.step()

                memory = peak_memory(step, setting.device)
                (seconds,) = seconds_of([step], setting.device, setting.repeats(10), 4.0, 1)
                rows.add(**what, ms=1e3 * seconds, images_s=2 / seconds, peak_mib=memory / 2**20)
                del optimizer


def measure(setting: Setting, rows: Rows) -> None:
    """All networks: first what every user waits for, then training, then the comparison."""
    peak = peaks(setting, 256 if setting.tiny else 4096)
    cases = TINY if setting.tiny else CASES
    for part in (partial(predict, peak=peak), train_step, against_published):
        for case in cases:
            with rows.trying(network=case.name):
                part(case, setting, rows)
            gc.collect()
            if setting.kind == 'cuda':
                wait(setting.device)
                torch.cuda.empty_cache()
