"""TaskDiffusion (Yang et al., ICLR 2025): joint denoising of all tasks' predictions in one cross-task map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.diffusion.noise import NoiseSource
from mmmtl.diffusion.schedules import cosine_log_snr, ddim_step, ddim_times, noised
from mmmtl.errors import ConfigError, suggest
from mmmtl.models.decoder import Decoder, Targets
from mmmtl.models.layers.film import FilmRows, TimeEmbedding, index_film_norms, rows_of_step
from mmmtl.ops.convolution import TapMajorConv2d, as_channels_last, stack_maps, use_channels_last
from mmmtl.ops.precision import to_float32
from mmmtl.registry import MODELS
from mmmtl.structures import Explanation

from .denoiser import CrossTaskDenoiser, Prepared, TaskMaps, TimedBlock
from .explain import explanations_of_trace
from .heads import AuxHead, LevelMaskAuxHead, refine_and_predict
from .label_encoder import CrossTaskLabelEncoder

AUX_HEADS = {'conv': AuxHead, 'level_mask': LevelMaskAuxHead}
MAX_TIME = 0.999
"""Training draws times below this; the signal is gone there anyway."""


@dataclass
class _Image:
    """What is computed once per image (or batch) and serves every denoising step."""

    prepared: Prepared
    conditions: Sequence[TaskMaps]


@MODELS.register_module()
class TaskDiffusionDecoder(Decoder):
    """Cross-task diffusion decoder for any set of tasks and any number of levels of one grid and width.

    In training the encoded labels are noised to a random time and the network predicts all tasks from them; in prediction
    it starts from noise and alternates predicting, encoding the predictions and a DDIM step.

    Noise names. Training: ``time`` (B,), ``noise`` (B, z, h, w). Prediction: ``start`` (B, z, h, w), and ``start.1``, ...
    for further ``repeats``. Conditions may draw more (:class:`MLoREConditions`). z is ``label_encoder.channels``.

    Args:
        tasks, in_channels, strides: See :class:`Decoder`. All levels must have one width E and one stride.
        conditions: Config of the task-specific branches: ``ConvConditions`` (plain) or ``MLoREConditions``.
        interaction, level_interaction, level_act, post_interact: See :class:`CrossTaskDenoiser`.
        separate_codes: See :class:`CrossTaskLabelEncoder`.
        scale: Bound of the encoded labels (Table 5).
        steps: Sampling steps (Table 6).
        time_difference: See :func:`mmmtl.diffusion.schedules.ddim_times`.
        repeats: Independent samplings whose raw maps are averaged.
        times: Training times: ``continuous`` in [0, 0.999) (published code) or ``discrete``, k / ``steps`` (paper).
        upsample: Enlargement before the last refinement block.
        aux: Auxiliary head in training: ``conv``, ``level_mask`` (published MLoRE variant) or None.
        aux_weight: Weight of its losses.
        recompute_tails: Do not keep the enlarged maps of a training step; they are computed again in the backward pass.

    Raises:
        ConfigError: Levels of different width or stride, or a switch with an unknown value.
    """

    aux_modules = ('aux_heads',)

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        conditions: dict | None = None,
        interaction: str = 'mask',
        level_interaction: bool = True,
        level_act: str = 'softmax',
        post_interact: bool = True,
        separate_codes: Sequence[str] = (),
        scale: float = 0.01,
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
        names, width, levels = list(self.tasks), self.in_channels[0], len(self.in_channels)
        self.step_times = ddim_times(steps, time_difference)
        self.repeats, self.times, self.upsample = repeats, times, upsample
        self.aux_weight, self.recompute_tails = aux_weight, recompute_tails
        self.label_encoder = CrossTaskLabelEncoder(self.tasks, width, separate_codes, scale)
        self.time_embedding = TimeEmbedding(width)
        self.conditions = MODELS.build(
            {'type': 'ConvConditions', 'tasks': names, 'levels': levels, 'width': width, **(conditions or {})}
        )
        self.denoiser = CrossTaskDenoiser(
            names, levels, width, self.label_encoder.channels, interaction, level_interaction, level_act, post_interact
        )
        self.refine = nn.ModuleList(
            nn.ModuleDict(
                {n: TimedBlock(width, TapMajorConv2d if j == 2 and upsample > 1 else nn.Conv2d) for n in names}
            )
            for j in range(3)
        )
        self.heads = nn.ModuleDict({n: nn.Conv2d(width, t.out_channels, 3, padding=1) for n, t in self.tasks.items()})
        self.aux_heads = None
        if aux is not None:
            self.aux_heads = nn.ModuleDict(
                {n: AUX_HEADS[aux](levels, width, t.out_channels) for n, t in self.tasks.items()}
            )
        self.film_norms = tuple(index_film_norms(self))
        use_channels_last(self)

    # ---- parts -----------------------------------------------------------------------------------------------------
    def look(self, feats: Sequence[Tensor], noise: NoiseSource) -> tuple[_Image, dict[str, Tensor]]:
        """Features → what every denoising step needs of the image, and the conditions' own losses."""
        levels = [as_channels_last(x) for x in feats]
        conditions, losses = self.conditions(levels, noise)
        if levels[0].device.type != 'cpu':  # there the exchange between tasks is one product
            conditions = [stack_maps(row) for row in conditions]
        return _Image(self.denoiser.prepare(levels), conditions), losses

    def modulations(self, log_snr: Tensor) -> FilmRows:
        """Gain and offset of every modulated norm at the given times (N,)."""
        time = self.time_embedding(log_snr)
        return [norm.rows(time) for norm in self.film_norms]

    def denoise(
        self, z: Tensor, image: _Image, rows: FilmRows, scale: int, trace: dict | None = None
    ) -> dict[str, Tensor]:
        """Noisy map (B, z, h, w) → raw maps (B, C, scale·h, scale·w); ``trace``: see :meth:`sample`."""
        relation: list | None = None if trace is None else []
        narrow = as_channels_last(z.to(image.prepared.noisy.dtype))
        features = self.denoiser(narrow, image.prepared, image.conditions, rows, relation)
        recompute = self.recompute_tails and self.training
        raw = {}
        for name, x in zip(self.tasks, features):
            for blocks in self.refine[:-1]:
                x = x + blocks[name](x, rows)
            raw[name] = refine_and_predict(x, self.refine[-1][name], self.heads[name], scale, rows, recompute)
        if trace is not None:
            trace.update(noisy=z, relation=relation, raw=raw)
        return raw

    def auxiliary(self, conditions: Sequence[TaskMaps]) -> dict[str, Tensor]:
        """Conditions, per level and task → raw maps of the auxiliary heads."""
        return {
            name: head([level[s] for level in conditions], self.upsample, self.recompute_tails)
            for s, (name, head) in enumerate((self.aux_heads or {}).items())
        }

    # ---- training --------------------------------------------------------------------------------------------------
    def draw_times(self, noise: NoiseSource, batch: int, like: Tensor) -> Tensor:
        """Training times (B,)."""
        if self.times == 'continuous':
            return noise.uniform('time', (batch,), 0.0, MAX_TIME, like=like)
        steps = len(self.step_times)
        return (noise.uniform('time', (batch,), 0.0, 1.0, like=like) * (steps + 1)).floor().clamp(max=steps) / steps

    def train_maps(self, feats: Sequence[Tensor], targets: Targets, noise: NoiseSource) -> tuple[dict, dict, dict]:
        """Raw maps of the decoder and of the auxiliary heads (empty without), and the conditions' own losses."""
        batch, grid = feats[0].shape[0], tuple(feats[0].shape[-2:])
        clean = self.label_encoder.encode_labels(targets, batch, grid)
        log_snr = cosine_log_snr(self.draw_times(noise, batch, clean))
        z = noised(clean, noise.normal('noise', clean.shape, like=clean), log_snr)
        image, losses = self.look(feats, noise)
        raw = self.denoise(z, image, self.modulations(log_snr), self.upsample)
        return raw, self.auxiliary(image.conditions) if self.aux_heads is not None else {}, losses

    def loss(
        self, feats: Sequence[Tensor], targets: Targets, noise: NoiseSource, size: tuple[int, int]
    ) -> dict[str, Tensor]:
        raw, aux, losses = self.train_maps(feats, targets, noise)
        losses = {**self.task_losses(raw, targets, size), **losses}
        if aux:
            losses.update(self.task_losses(aux, targets, size, prefix='aux.', weight=self.aux_weight))
        return losses

    # ---- prediction ------------------------------------------------------------------------------------------------
    def step(
        self, z: Tensor, image: _Image, rows: FilmRows, log_snr: Tensor, log_snr_next: Tensor, trace: dict | None = None
    ) -> Tensor:
        """One sampling step but the last: predict on the small grid, encode the predictions, move z."""
        clean = self.label_encoder.encode_logits(self.denoise(z, image, rows, 1, trace))
        return ddim_step(z, clean, log_snr, log_snr_next)

    def sample(self, z: Tensor, image: _Image, trace: list[dict] | None = None) -> dict[str, Tensor]:
        """Noise (B, z, h, w) → raw maps.

        Args:
            z: Standard normal noise.
            image: See :meth:`look`.
            trace: Takes a dict per step: ``noisy`` (the cross-task map the step starts from), ``relation`` (per level
                (B, S, S, h, w): target, source; empty without the mask interaction) and ``raw`` (maps of the tasks).
        """
        log_snr, log_snr_next = cosine_log_snr(torch.tensor(self.step_times, device=z.device)).unbind(1)
        rows = self.modulations(log_snr)
        last = len(self.step_times) - 1
        seen: list[Any] = [None] * (last + 1) if trace is None else [{} for _ in range(last + 1)]
        if trace is not None:
            trace.extend(seen)
        for k in range(last):
            z = self.step(z, image, rows_of_step(rows, k), log_snr[k : k + 1], log_snr_next[k : k + 1], seen[k])
        raw = self.denoise(z, image, rows_of_step(rows, last), self.upsample, seen[last])
        return {name: self.tasks[name].bound(to_float32(x)) for name, x in raw.items()}

    def predict(
        self, feats: Sequence[Tensor], noise: NoiseSource, size: tuple[int, int], trace: list[list[dict]] | None = None
    ) -> dict[str, Tensor]:
        """See :class:`Decoder`; ``trace`` takes, per repeat, what :meth:`sample` traces."""
        image, _ = self.look(feats, noise)
        shape = (feats[0].shape[0], self.label_encoder.channels, *feats[0].shape[-2:])
        total: dict[str, Tensor] = {}
        for repeat in range(self.repeats):
            start = noise.normal(
                'start' if repeat == 0 else f'start.{repeat}', shape, like=to_float32(feats[0].new_empty(0))
            )
            steps: list[dict] = []
            raw = self.sample(start, image, None if trace is None else steps)
            if trace is not None:
                trace.append(steps)
            total = {name: total[name] + x if total else x for name, x in raw.items()}
        return {name: x / self.repeats for name, x in total.items()} if self.repeats > 1 else total

    def explain(self, feats: Sequence[Tensor], noise: NoiseSource, size: tuple[int, int]) -> list[Explanation]:
        """What a prediction rests on: cross-task maps and predictions per step, task-relation masks per level and step
        (figures 3, 5 and 6); of several ``repeats`` the first. Arguments as in :meth:`predict`."""
        trace: list[list[dict]] = []
        self.predict(feats, noise, size, trace)
        return explanations_of_trace(trace[0], [time for time, _ in self.step_times], self.tasks, self.label_encoder)
