"""A training on many GPUs, planned from what can be counted: operations, parameters, bytes of samples."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from mmengine.config import Config
from torch import nn

from mmmtl.apis.model import build_model, forget_pretrained, quiet
from mmmtl.errors import ConfigError
from mmmtl.models.sizes import input_size
from mmmtl.ops.allocator import without_memory
from mmmtl.tasks import build_tasks
from mmmtl.utils.tables import format_table

from .complexity import count_complexity

BYTES = 4
"""Of a number in float32, in which gradients and optimiser states are kept and sent."""
ASSUMPTIONS = (
    'a training step costs three predictions (forward, and twice that backward), two operations per multiply-accumulate; a '
    'decoder that samples in several steps trains on one: count it with its steps set to 1',
    'a GPU reaches --utilization of --tflops, and sends and receives --bandwidth at a time, all of them at once',
    'rings: of P trained numbers DDP sends 2 (N-1)/N P in every update (all-reduce); FSDP (N-1)/N P three times, gathering '
    'the parameters forward and backward and scattering the gradients',
    'gradients and what FSDP gathers are sent as float32; frozen parameters are gathered too',
    'hidden: sending runs beside computing and only the longer of the two counts; exposed: one after the other',
    'optimiser: two numbers per trained parameter (Adam); activations come on top',
)
"""What the numbers rest on."""


@dataclass
class Workload:
    """What one image and one update cost.

    Attributes:
        operations: Floating-point operations of a training step on one image.
        trained, frozen: Parameters.
        sample_bytes: Of a decoded sample, images as 8-bit RGB and labels as they are kept.
        batch: Images per process and update.
        made_for: The total batch that the config is made for; None where it does not say.
        iterations: Of the training; None where it counts epochs.
        gathers: Whether a training on fewer GPUs adds up gradients until it reaches ``made_for``.
    """

    operations: int
    trained: int
    frozen: int
    sample_bytes: int
    batch: int
    made_for: int | None
    iterations: int | None
    gathers: bool = False

    def on(self, gpus: int) -> Workload:
        """The same with the images per process and update that a training on so many GPUs takes."""
        times, rest = divmod(self.made_for or 0, gpus * self.batch)
        return replace(self, batch=self.batch * times) if self.gathers and times and not rest else self


def workload_of(cfg: Config, size: tuple[int, int] | None = None) -> Workload:
    """Count the training of a config; no weights are made where it can be avoided, no data is read."""
    forget_pretrained(cfg.model)
    with quiet(), without_memory():
        model: nn.Module = build_model(cfg, initialize=False)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    frozen = sum(p.numel() for p in model.parameters()) - trained
    size = size or input_size(cfg)
    total = count_complexity(cfg, size).total()
    loader, wrapper = cfg.get('train_dataloader') or {}, cfg.get('optim_wrapper') or {}
    each = (loader.get('batch_sampler') or {}).get('batch_size') or loader.get('batch_size', 1)
    loop, scaling = cfg.get('train_cfg') or {}, cfg.get('auto_scale_lr') or {}
    counted, added = wrapper.get('accumulative_counts'), loop.get('accumulation')
    counts, iterations = counted or 1, loop.get('max_iters')
    return Workload(
        operations=6 * (total.layers + total.products),
        trained=trained,
        frozen=frozen,
        sample_bytes=_sample_bytes(cfg, size),
        batch=each * counts * (added or 1),
        made_for=scaling.get('base_batch_size'),
        iterations=None if iterations is None else math.ceil(iterations / counts),
        gathers=counted is None and added is None and not scaling.get('enable'),
    )


def _sample_bytes(cfg: Config, size: tuple[int, int]) -> int:
    """Bytes of an image, or pair, and a label of every task: class ids in one byte, other numbers in four."""
    tasks = build_tasks(cfg.model['tasks'])
    frames = max(task.frames for task in tasks.values())
    labels = sum(1 if task.categorical else BYTES * task.label_channels for task in tasks.values())
    return size[0] * size[1] * (3 * frames + labels)


@dataclass
class Step:
    """An update of a training on N GPUs by one way of sharing the network out.

    Attributes:
        sent: Bytes that every GPU sends in it.
        computing, sending: Seconds.
        state: Bytes of parameters, gradients and optimiser states on every GPU.
    """

    sent: float
    computing: float
    sending: float
    state: float

    @property
    def hidden(self) -> float:
        """Seconds where sending runs beside computing."""
        return max(self.computing, self.sending)

    @property
    def exposed(self) -> float:
        """Seconds where it does not."""
        return self.computing + self.sending


def bytes_sent(work: Workload, gpus: int, sharded: bool) -> float:
    """Bytes that every GPU sends in an update."""
    share = (gpus - 1) / gpus * BYTES
    return share * (2 * (work.trained + work.frozen) + work.trained) if sharded else share * 2 * work.trained


def step_of(work: Workload, gpus: int, sharded: bool, speed: float, bandwidth: float) -> Step:
    """An update.

    Args:
        work: The workload.
        gpus: N.
        sharded: FSDP, or DDP.
        speed: Operations per second that a GPU reaches.
        bandwidth: Bytes per second that it sends.
    """
    sent = bytes_sent(work, gpus, sharded)
    state = BYTES * (4 * work.trained + work.frozen) / (gpus if sharded else 1)
    return Step(sent, work.batch * work.operations / speed, sent / bandwidth, state)


def plan_report(
    cfg: Config,
    gpus: int,
    tflops: float,
    bandwidth: float,
    utilization: float = 0.4,
    size: tuple[int, int] | None = None,
    sample_bytes: float | None = None,
) -> str:
    """A plan as text, with its assumptions.

    Args:
        cfg: The config; its batch per process is what every GPU trains on.
        gpus: Number of GPUs.
        tflops: 10^12 operations per second that a GPU could do.
        bandwidth: 10^9 bytes per second that a GPU sends to others.
        utilization: Share of ``tflops`` that is reached.
        size: (H, W) of the input; default: the config's.
        sample_bytes: Bytes of a stored sample; default: decoded, see :class:`Workload`.

    Raises:
        ConfigError: Numbers that are not positive.
    """
    for name, value in dict(gpus=gpus, tflops=tflops, bandwidth=bandwidth, utilization=utilization).items():
        if not value > 0:
            raise ConfigError(f'plan: {name} must be above 0, got {value}')
    if utilization > 1:
        raise ConfigError(f'plan: utilization is a share, at most 1, got {utilization}')
    work = workload_of(cfg, size)
    stored = work.sample_bytes if sample_bytes is None else sample_bytes
    rows = []
    for count in sorted({1, *(n for n in (2, 4, 8, 16, 32) if n < gpus), gpus}):
        for name, sharded in (('DDP', False), ('FSDP', True)):
            here = work.on(count)
            step = step_of(here, count, sharded, tflops * 1e12 * utilization, bandwidth * 1e9)
            images = count * here.batch / step.hidden
            rows.append(
                [
                    str(count),
                    name,
                    f'{step.sent / 1e9:.2f}',
                    f'{1e3 * step.computing:.1f}',
                    f'{1e3 * step.sending:.1f}',
                    f'{step.computing / step.hidden:.0%}',
                    f'{step.computing / step.exposed:.0%}',
                    f'{images:.1f}',
                    f'{images * stored / 1e9:.3f}',
                    f'{step.state / 2**30:.2f}',
                ]
            )
    header = 'GPUs|by|sent GB|compute ms|send ms|hidden|exposed|images/s|read GB/s|state GiB'.split('|')
    lines = [
        f'{work.operations / 1e12:.3f} T operations per image and step; {work.trained / 1e6:.2f} M trained and '
        f'{work.frozen / 1e6:.2f} M frozen parameters; {stored / 1e6:.2f} MB a sample; '
        f'{work.on(gpus).batch} images per GPU and update',
        '',
        format_table(header, rows, right=tuple(range(2, 10))),
        '',
        *_length(work.on(gpus), gpus, tflops * utilization * 1e12, bandwidth * 1e9),
        'Assumptions:',
        *(f'* {text}' for text in ASSUMPTIONS),
    ]
    return '\n'.join(lines)


def _length(work: Workload, gpus: int, speed: float, bandwidth: float) -> list[str]:
    """How long the training of the config takes, and what its total batch becomes."""
    total = gpus * work.batch
    lines = []
    if work.made_for and total > work.made_for:
        lines.append(
            f'Total batch {total}, and the config is made for {work.made_for}: the learning rate has to follow '
            f'(auto_scale_lr.enable=True), over {work.made_for / total:.3g} times the updates.'
        )
    if work.iterations:
        updates = work.iterations
        if work.made_for:
            updates = math.ceil(updates * work.made_for / total) if total > work.made_for else updates
        hours = [
            updates * getattr(step_of(work, gpus, sharded, speed, bandwidth), kind) / 3600
            for sharded, kind in ((False, 'hidden'), (True, 'exposed'))
        ]
        lines.append(
            f'{updates} updates on {gpus} GPUs: {hours[0]:.2f} h (DDP, hidden) to {hours[1]:.2f} h (FSDP, exposed), without '
            f'reading, validation and restarts.'
        )
    return lines
