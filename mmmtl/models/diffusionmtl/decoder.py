"""DiffusionMTL: noise decays the initial maps of every task, a denoiser conditioned on all tasks brings them back.

Ye and Xu, "DiffusionMTL: Learning Multi-Task Denoising Diffusion Model from Partially Annotated Data", CVPR 2024,
section 3. B images, T tasks, task t with C_t channels, D channels of features, S steps.

=====================  ===================================================  =====================
here                   paper                                                shape
=====================  ===================================================  =====================
``features[t]``        initial feature map F_t of a preliminary decoder     (B, D, h, w)
``predictions[t]``     initial prediction P_t                               (B, C_t, h, w)
``start[t]``           what is diffused: F_t (Feature) or P_t (Prediction)  (n, D or C_t, h, w)
``states[t]``          its noisy version x_s at step s                      as ``start[t]``
``condition``          multi-task condition of all initial maps             (B, D, h, w), tokens
``clean[t]``           the denoiser's estimate of ``start[t]``              as ``start[t]``
=====================  ===================================================  =====================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.diffusion.ddpm import DenoisingChain, make_betas
from mmmtl.errors import ConfigError, suggest
from mmmtl.models.decoder import Decoder, Targets, zero_loss
from mmmtl.models.layers.basic_block import ResidualBranch
from mmmtl.ops.winograd_gradients import use_winograd_gradients
from mmmtl.registry import MODELS
from mmmtl.structures import Explanation

from .denoiser import Condition
from .explain import Recorder

MODES = ('feature', 'prediction')
CONDITIONS = ('predictions', 'features', 'both')
Maps = dict[str, Tensor]


@MODELS.register_module()
class DiffusionMTLDecoder(Decoder):
    """Preliminary decoders, multi-task conditioning and a denoising chain of few steps.

    Per task, residual blocks give F_t and a 1x1 convolution P_t. One of the two is the clean signal of a diffusion:
    noise decays it (step S - 1 of S), and S denoising steps bring it back, conditioned on the initial maps of *all*
    tasks. Training runs the whole chain with gradients, for the labelled (sample, task) pairs alone and all of them as
    one batch; there is no random time step. The final map is supervised, and P_t with ``intermediate_weight``.

    Feature Diffusion follows the published code. Prediction Diffusion was never published; the defaults are the
    reconstruction that meets the paper's table to the digit (132,913,284 parameters, 628 G multiply-accumulates with
    ResNet-18 on PASCAL-Context): the condition is a convolution over all F_t, and the head that turns features into
    predictions works at every step.

    Noise names: ``q.<task>`` for the decay, ``p<s>.<task>`` for the step from s to s - 1 (s = S - 1 .. 1).

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`; one fused map.
        mode: ``feature`` or ``prediction``: what is diffused.
        num_blocks: Residual blocks of a preliminary decoder.
        denoiser: Config of the denoiser; channels of its inputs and outputs are filled in. Default:
            :class:`~mmmtl.models.diffusionmtl.denoiser.CrossDenoiser`.
        num_steps: S. The paper plots 1, 2 and 3 and uses 2.
        beta_rule, beta_range: Noise schedule, see :func:`mmmtl.diffusion.ddpm.make_betas`. The paper says "linear", the
            code grows the root linearly; up to S = 2 the two agree.
        condition: What the conditioning convolution sees: ``predictions`` (default of Feature: the published code,
            though the paper's figure 3 draws features), ``features`` (default of Prediction: with predictions the model
            would have 121.3 M parameters, which the table excludes) or ``both`` (Prediction: honours the figure too,
            133.07 M).
        detach_predictions: No gradient through P_t where it is diffused or a condition (published code).
        detach_features: No gradient through F_t there (published code: attached).
        intermediate_weight: Weight of the losses on P_t (published code: 0.5).
        loss_reduction: See :class:`~mmmtl.models.decoder.Decoder` (published code: ``balanced``).
        diffusion: False: the ablation without diffusion; the same denoiser runs the same steps on maps that no noise
            touches, each step taking the last one's result (the table gives it the full model's cost).
        multitask_condition: False: the ablation without conditioning; noisy tokens attend to themselves.
        winograd_gradients: Compute gradients of 3x3 convolutions by Winograd's algorithm, see
            :mod:`mmmtl.ops.winograd_gradients`; of use on CPUs in fp32 alone.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        mode: str = 'feature',
        num_blocks: int = 2,
        denoiser: dict | None = None,
        num_steps: int = 2,
        beta_rule: str = 'sqrt_linear',
        beta_range: Sequence[float] = (1e-3, 1e-2),
        condition: str | None = None,
        detach_predictions: bool = True,
        detach_features: bool = False,
        intermediate_weight: float = 0.5,
        loss_reduction: str = 'balanced',
        diffusion: bool = True,
        multitask_condition: bool = True,
        winograd_gradients: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg, loss_reduction=loss_reduction)
        for value, known, what in ((mode, MODES, 'mode'), (condition, (None, *CONDITIONS), 'condition')):
            if value not in known:
                raise ConfigError(
                    f"DiffusionMTLDecoder: {what} must be one of {known}, got '{value}'."
                    f'{suggest(str(value), map(str, known))}'
                )
        if len(self.in_channels) != 1:
            raise ConfigError(
                f'DiffusionMTLDecoder works on one fused map, the backbone gives {len(self.in_channels)}: '
                "add neck=dict(type='ConcatFusion', channels=512) to the model"
            )
        self.mode, self.intermediate_weight, self.diffusion = mode, intermediate_weight, diffusion
        self.condition = condition or ('predictions' if mode == 'feature' else 'features')
        self.detach_predictions, self.detach_features = detach_predictions, detach_features
        self.chain = DenoisingChain(make_betas(num_steps, beta_range[0], beta_range[1], beta_rule))
        width, outputs = self.in_channels[0], {n: t.out_channels for n, t in self.tasks.items()}
        self.preliminary = nn.ModuleDict({n: ResidualBranch(width, num_blocks) for n in self.tasks})
        self.preliminary_heads = nn.ModuleDict({n: nn.Conv2d(width, c, 1) for n, c in outputs.items()})
        self.combine = None
        if multitask_condition:
            channels = sum(outputs.values()) * (self.condition != 'features')
            channels += len(outputs) * width * (self.condition != 'predictions')
            self.combine = nn.Conv2d(channels, width, 3, padding=1)
            nn.init.kaiming_normal_(self.combine.weight, mode='fan_out', nonlinearity='relu')
            nn.init.zeros_(self.combine.bias)
        shape = dict(
            in_channels=dict.fromkeys(outputs, width) if mode == 'feature' else outputs,
            out_channels=outputs,
            width=width,
            conditioned=multitask_condition,
        )
        self.denoiser = MODELS.build({'type': 'CrossDenoiser', **shape, **(denoiser or {})})
        if winograd_gradients:
            use_winograd_gradients(self)

    # ---- initial maps and condition (sections 3.2 and 3.4) -----------------------------------------------------------
    def initial(self, feats: Sequence[Tensor], learned: Sequence[str] | None = None) -> tuple[Maps, Maps]:
        """Initial feature maps {task: (B, D, h, w)} and predictions {task: (B, C_t, h, w)}.

        Args:
            feats: The fused map.
            learned: Tasks whose maps need gradients; None: all. The others are computed without a graph where
                no gradient could reach them through the condition anyway.
        """
        reached = (self.condition != 'predictions' and not self.detach_features) or (
            self.condition != 'features' and not self.detach_predictions
        )
        features, predictions = {}, {}
        for name in self.tasks:
            keep = learned is None or name in learned or (self.combine is not None and reached)
            with nullcontext() if keep else torch.no_grad():
                features[name] = self.preliminary[name](feats[0])
                predictions[name] = self.preliminary_heads[name](features[name])
        return features, predictions

    def start_and_condition(self, features: Maps, predictions: Maps) -> tuple[Maps, Condition | None]:
        """What is diffused, {task: (B, D or C_t, h, w)}, and the condition of all tasks."""
        if self.detach_predictions:
            predictions = {n: p.detach() for n, p in predictions.items()}
        if self.detach_features:
            features = {n: f.detach() for n, f in features.items()}
        condition = None
        if self.combine is not None:
            seen = [*predictions.values()] * (self.condition != 'features')
            seen += [*features.values()] * (self.condition != 'predictions')
            condition = self.denoiser.prepare(self.combine(torch.cat(seen, 1)))
        return (features if self.mode == 'feature' else predictions), condition

    # ---- noise decay and denoising (section 3.3) ---------------------------------------------------------------------
    def denoise(
        self, start: Maps, condition: Condition | None, noise: Any, index: Mapping[str, Tensor] | None = None
    ) -> Maps:
        """Decay ``start`` and bring it back.

        Args:
            start: ``{task: (n, D or C_t, h, w)}``, clean; emptied, so that nobody keeps maps which nobody reads again.
            condition: Of every row of ``start``, in its order.
            noise: Noise source.
            index: ``{task: (n,)}``, the image of every row; None: a row per image.

        Returns:
            Raw maps ``{task: (n, C_t, h, w)}``.
        """

        def drawn(kind: str, name: str, like: Tensor) -> Tensor:
            return noise.normal(f'{kind}.{name}', like.shape, like=like, index=None if index is None else index[name])

        last = self.chain.steps - 1
        states = {}
        for name in list(start):
            x = start.pop(name)
            states[name] = self.chain.diffuse(x, drawn('q', name, x), last) if self.diffusion else x
        for step in range(last, 0, -1):
            clean = dict(self.denoiser(states, condition, step))
            if self.mode == 'prediction':
                clean = {n: self.denoiser.heads[n](x) for n, x in clean.items()}
            if self.diffusion:
                clean = {
                    n: self.chain.step_back(clean.pop(n), x, drawn(f'p{step}', n, x), step) for n, x in states.items()
                }
            states = clean
        return {n: self.denoiser.heads[n](x) for n, x in self.denoiser(states, condition, 0).items()}

    # ---- contract ----------------------------------------------------------------------------------------------------
    def forward_train(
        self, feats: Sequence[Tensor], index: Mapping[str, Tensor], noise: Any, learned: Sequence[str] | None = ()
    ) -> tuple[Maps, Maps]:
        """Initial predictions {task: (B, C_t, h, w)} of all tasks, final raw maps {task: (n, C_t, h, w)} of labelled ones.

        Args:
            feats: The fused map.
            index: ``{task: (n,)}``, the labelled samples.
            noise: Noise source.
            learned: More tasks whose initial maps need gradients; None: all.
        """
        names = [n for n in self.tasks if n in index]
        features, predictions = self.initial(feats, None if learned is None else [*names, *learned])
        start, condition = self.start_and_condition(features, predictions)
        if not names:
            return predictions, {}
        rows = {n: index[n] for n in names}
        start = {n: start[n][i] for n, i in rows.items()}
        condition = condition and condition.rows(torch.cat([*rows.values()]))
        return predictions, self.denoise(start, condition, noise, rows)

    def loss(self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        initial, final = self.forward_train(feats, {n: i for n, (i, _) in targets.items()}, noise)
        return self._losses(feats, initial, final, targets, size)

    def loss_and_maps(
        self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int], batch: int | None = None
    ) -> tuple[dict[str, Tensor], Maps]:
        """As the base; the maps are the initial predictions, which training has for all tasks and samples."""
        index = {n: i for n, (i, _) in targets.items()}
        initial, final = self.forward_train(feats, index, noise, learned=None)
        return self._losses(feats, initial, final, targets, size, batch), initial

    def _losses(
        self,
        feats: Sequence[Tensor],
        initial: Maps,
        final: Maps,
        targets: Targets,
        size: tuple[int, int],
        batch: int | None = None,
    ) -> dict[str, Tensor]:
        batch = batch or len(feats[0])
        losses = self.task_losses(final, targets, size, gathered=True, batch=batch)
        losses.update(self.task_losses(initial, targets, size, 'aux.', self.intermediate_weight, batch=batch))
        shared = [m for m in (self.denoiser, self.combine) if m is not None and not final]
        for name in (n for n in self.tasks if n not in targets):
            own = [self.preliminary[name], self.preliminary_heads[name], *self.denoiser.parts_of(name), *shared]
            losses[f'loss_{name}'] = losses[f'loss_{name}'] + zero_loss(*own) + feats[0].flatten()[:0].sum()
        return losses

    def predict(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int]) -> Maps:
        return self.predict_tasks(feats, noise, size, list(self.tasks))

    def predict_tasks(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int], tasks: Sequence[str]) -> Maps:
        start, condition = self.start_and_condition(*self.initial(feats))
        rows = torch.arange(feats[0].shape[0], device=feats[0].device).repeat(len(tasks))
        return self.denoise({name: start[name] for name in tasks}, condition and condition.rows(rows), noise)

    def explain(
        self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int], targets: Targets | None = None
    ) -> list[Explanation]:
        """Initial, decayed and denoised maps per task and step (supplement, figures 1 and 2); arguments as above."""
        with Recorder(self) as recorder:
            self.predict(feats, noise, size)
        return recorder.explanations()
