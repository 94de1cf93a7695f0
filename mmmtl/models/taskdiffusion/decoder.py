"""Training and sampling of TaskDiffusion (Algorithms 1 and 2); the package's docstring has the paper's symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.diffusion.noise import NoiseSource
from mmmtl.diffusion.schedules import cosine_log_snr, ddim_step, ddim_times, noised
from mmmtl.errors import ConfigError, suggest
from mmmtl.models.decoder import Decoder, Targets
from mmmtl.models.layers.film import TimeEmbedding
from mmmtl.ops.precision import to_float32
from mmmtl.ops.recompute import recomputed
from mmmtl.registry import MODELS
from mmmtl.structures import Explanation

from .conditions import NoConditions
from .explain import explain_sampling
from .heads import AuxHead, LevelMaskAuxHead, PredictionBranch

AUX_HEADS = {'conv': AuxHead, 'level_mask': LevelMaskAuxHead}
MAX_TIME = 0.999
"""Training draws times below this; the signal is gone there anyway."""


@MODELS.register_module()
class TaskDiffusionDecoder(Decoder):
    """Cross-task diffusion decoder for any set of tasks and any number of levels of one grid and width.

    In training the encoded labels are noised to a random time and the network predicts all tasks from them; in prediction
    it starts from noise and alternates predicting, encoding the predictions and a DDIM step.

    Noise names. Training: ``time`` (B,), ``noise`` (B, z, h, w). Prediction: ``start`` (B, z, h, w), and ``start.1``, ...
    for further ``repeats``. Conditions may draw more (:class:`MLoREConditions`). z is ``label_encoder.channels``.

    Args:
        tasks, in_channels, strides: See :class:`Decoder`. All levels must have one width E and one stride.
        label_encoder: Config; type ``CrossTaskLabelEncoder`` if none is given.
        denoiser: Config; type ``CrossTaskDenoiser`` if none is given.
        conditions: Config of the task-specific branches; type ``ConvConditions`` if none is given (``NoConditions`` for
            a denoiser that uses none), or ``MLoREConditions``.
        steps: Sampling steps (Table 6).
        time_difference: See :func:`mmmtl.diffusion.schedules.ddim_times`.
        repeats: Independent samplings whose raw maps are averaged.
        times: Training times: ``continuous`` in [0, 0.999) (published code) or ``discrete``, k / ``steps`` (paper).
        upsample: Enlargement before the last block of the prediction branches.
        aux: Auxiliary head in training: ``conv``, ``level_mask`` (published MLoRE variant) or None.
        aux_weight: Weight of its losses.
        recompute_tails: Do not keep the enlarged maps of a training step; they are computed again in the backward pass.

    Raises:
        ConfigError: Levels of different width or stride, parts that do not go together, or an unknown value of a switch.
    """

    aux_modules = ('aux_heads',)

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        label_encoder: dict | None = None,
        denoiser: dict | None = None,
        conditions: dict | None = None,
        steps: int = 3,
        time_difference: int = 1,
        repeats: int = 1,
        times: str = 'continuous',
        upsample: int = 4,
        aux: str | None = 'conv',
        aux_weight: float = 0.25,
        recompute_tails: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg)
        if len(set(self.in_channels)) != 1 or len(set(self.strides)) != 1:
            raise ConfigError(
                f'TaskDiffusionDecoder needs levels of one width and stride, got channels {self.in_channels} '
                f"at strides {self.strides}: add neck=dict(type='LevelProjection', channels=...)"
            )
        if times not in ('continuous', 'discrete'):
            raise ConfigError(f"times must be 'continuous' or 'discrete', got '{times}'")
        if aux is not None and aux not in AUX_HEADS:
            raise ConfigError(f"aux must be None or one of {sorted(AUX_HEADS)}, got '{aux}'.{suggest(aux, AUX_HEADS)}")
        if repeats < 1 or upsample < 1:
            raise ConfigError(f'repeats and upsample must be at least 1, got {repeats} and {upsample}')
        self.time_difference, self.sampling_steps = time_difference, steps
        self.repeats, self.times, self.upsample = repeats, times, upsample
        self.aux_weight, self.recompute_tails = aux_weight, recompute_tails
        names, width, levels = list(self.tasks), self.in_channels[0], len(self.in_channels)
        sizes = dict(tasks=names, levels=levels, width=width)
        self.label_encoder: Any = MODELS.build(
            {'type': 'CrossTaskLabelEncoder', 'tasks': self.tasks, 'width': width, **(label_encoder or {})}
        )
        self.time_embedding = TimeEmbedding(width)
        z = self.label_encoder.channels
        self.denoiser: Any = MODELS.build(
            {'type': 'CrossTaskDenoiser', **sizes, 'noisy_channels': z, **(denoiser or {})}
        )
        usual = 'ConvConditions' if self.denoiser.uses_conditions else 'NoConditions'
        self.conditions = MODELS.build({'type': usual, **sizes, **(conditions or {})})
        self._check_conditions(aux)
        if (grid := getattr(self.conditions, 'grid', None)) is not None:  # conditions of one image size
            self.fixed_size = tuple(n * self.strides[0] for n in grid)
        self.branches = nn.ModuleDict(
            {n: PredictionBranch(width, t.out_channels, upsample > 1, recompute_tails) for n, t in self.tasks.items()}
        )
        self.aux_heads = None
        if aux is not None:
            head = AUX_HEADS[aux]
            self.aux_heads = nn.ModuleDict({n: head(levels, width, t.out_channels) for n, t in self.tasks.items()})

    def _check_conditions(self, aux: str | None) -> None:
        without, denoiser = isinstance(self.conditions, NoConditions), type(self.denoiser).__name__
        if without == self.denoiser.uses_conditions:
            raise ConfigError(
                f'{denoiser} {"needs" if without else "does not use"} conditions, got conditions=dict(type='
                f"'{type(self.conditions).__name__}'): leave conditions out to get those that it wants"
            )
        if without and aux is not None:
            raise ConfigError(f"aux='{aux}' puts heads on the conditions, and {denoiser} has none: set aux=None")

    # ---- parts -----------------------------------------------------------------------------------------------------
    def encode_conditions(
        self, feats: Sequence[Tensor], noise: NoiseSource
    ) -> tuple[Any, list[list[Tensor]], dict[str, Tensor]]:
        """X^l (B, E, h, w) → the denoiser's cache of all steps, F_i^s per level and task, the conditions' own losses."""
        conditions, losses = self.conditions(feats, noise)
        return self.denoiser.encode(feats, conditions), conditions, losses

    def denoise(
        self, z: Tensor, cache: Any, time: Tensor, scale: int, tasks: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """z_t (B, z, h, w) and time embedding (1 or B, E) → k_s (B, C, scale·h, scale·w) of ``tasks``, or of every task."""
        fused = dict(zip(self.branches, self.denoiser(z, cache, time)))  # F'_s, each (B, E, h, w)
        return {name: self.branches[name](fused[name], time, scale) for name in tasks or fused}

    # ---- training --------------------------------------------------------------------------------------------------
    def draw_times(self, noise: NoiseSource, batch: int, like: Tensor) -> Tensor:
        """Training times (B,)."""
        if self.times == 'continuous':
            return noise.uniform('time', (batch,), 0.0, MAX_TIME, like=like)
        steps = len(self.step_times)
        return (noise.uniform('time', (batch,), 0.0, 1.0, like=like) * (steps + 1)).floor().clamp(max=steps) / steps

    def train_maps(self, feats: Sequence[Tensor], targets: Targets, noise: NoiseSource) -> tuple[dict, dict, dict]:
        """k_s of the decoder and of the auxiliary heads (empty without), and the conditions' own losses."""
        batch, grid = feats[0].shape[0], (feats[0].shape[2], feats[0].shape[3])
        clean = self.label_encoder.encode_labels(targets, batch, grid)  # z_0 (B, z, h, w)
        log_snr = cosine_log_snr(self.draw_times(noise, batch, clean))  # (B,)
        z = noised(clean, noise.normal('noise', clean.shape, like=clean), log_snr)
        cache, conditions, losses = self.encode_conditions(feats, noise)
        raw = self.denoise(z, cache, self.time_embedding(log_snr), self.upsample)
        return raw, self.auxiliary(conditions), losses

    def auxiliary(self, conditions: Sequence[Sequence[Tensor]]) -> dict[str, Tensor]:
        """F_i^s per level and task → raw maps (B, C, upsample·h, upsample·w) of the auxiliary heads."""
        raw = {}
        for s, (name, head) in enumerate((self.aux_heads or {}).items()):
            maps = [level[s] for level in conditions]
            raw[name] = recomputed(head, maps, self.upsample) if self.recompute_tails else head(maps, self.upsample)
        return raw

    def loss(
        self, feats: Sequence[Tensor], targets: Targets, noise: NoiseSource, size: tuple[int, int]
    ) -> dict[str, Tensor]:
        raw, aux, losses = self.train_maps(feats, targets, noise)
        losses = {**self.task_losses(raw, targets, size), **losses}
        if aux:
            losses.update(self.task_losses(aux, targets, size, prefix='aux.', weight=self.aux_weight))
        return losses

    # ---- prediction ------------------------------------------------------------------------------------------------
    def step(self, z: Tensor, cache: Any, time: Tensor, log_snr: Tensor, log_snr_next: Tensor) -> Tensor:
        """One sampling step but the last: predict on the small grid, encode the predictions, move z."""
        clean = self.label_encoder.encode_logits(self.denoise(z, cache, time, 1))  # z_0 (B, z, h, w)
        return ddim_step(z, clean, log_snr, log_snr_next)

    @property
    def sampling_steps(self) -> int:
        """T."""
        return len(self.step_times)

    @sampling_steps.setter
    def sampling_steps(self, steps: int) -> None:
        self.step_times = ddim_times(steps, self.time_difference)

    def sample(self, z: Tensor, cache: Any, tasks: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Standard normal noise (B, z, h, w) → k_s (B, C, upsample·h, upsample·w) of ``tasks``, or of every task."""
        log_snr, log_snr_next = cosine_log_snr(z.new_tensor(self.step_times, dtype=torch.float32)).unbind(1)  # (T,)
        times = self.time_embedding(log_snr)  # (T, E)
        *steps, last = zip(times.split(1), log_snr.split(1), log_snr_next.split(1))
        for step in steps:
            z = self.step(z, cache, *step)
        raw = self.denoise(z, cache, last[0], self.upsample, tasks)
        return {name: self.tasks[name].bound(to_float32(x)) for name, x in raw.items()}

    def predict(self, feats: Sequence[Tensor], noise: NoiseSource, size: tuple[int, int]) -> dict[str, Tensor]:
        return self.predict_tasks(feats, noise, size, list(self.tasks))

    def predict_tasks(
        self, feats: Sequence[Tensor], noise: NoiseSource, size: tuple[int, int], tasks: Sequence[str]
    ) -> dict[str, Tensor]:
        cache, _, _ = self.encode_conditions(feats, noise)
        shape = (feats[0].shape[0], self.label_encoder.channels, *feats[0].shape[-2:])
        total: dict[str, Tensor] = {}
        for repeat in range(self.repeats):
            name = f'start.{repeat}' if repeat else 'start'
            raw = self.sample(noise.normal(name, shape, like=to_float32(feats[0].new_empty(0))), cache, tasks)
            total = {name: total[name] + x if total else x for name, x in raw.items()}
        return {name: x / self.repeats for name, x in total.items()} if self.repeats > 1 else total

    def explain(
        self, feats: Sequence[Tensor], noise: NoiseSource, size: tuple[int, int], targets: Targets | None = None
    ) -> list[Explanation]:
        """What a prediction rests on: cross-task maps and predictions per step, task-relation masks per level and step
        (figures 3 and 6), and the cross-task map of the labels where there are any (figure 5)."""
        return explain_sampling(self, feats, noise, size, targets)
