"""A DiffusionMTL network of the toolbox and its literal transcription side by side: same weights, draws and labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.reference.diffusionmtl import BUFFERS, DiffusionMTL, Setting, total_loss
from benchmarks.reference.match import differences, gradient_differences, published_name
from benchmarks.reference.published_counts import count_prediction
from benchmarks.reference.taskdiffusion import DISCRETE, randomize
from mmmtl.errors import ConfigError
from mmmtl.models.diffusionmtl.converter import convert

__all__ = ['DiffusionPair']


class DiffusionPair:
    """A network and its transcription, for ``tools/analysis_tools/benchmark.py --reference``.

    Args:
        model: DiffusionMTL network on a ResNet-18; its weights are replaced by the transcription's random ones.
        inputs: (B, 3, H, W), sides multiples of 32.
        targets: ``{task: (positions, labels)}``.
        seed: Seed of weights and draws.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, targets: Mapping[str, tuple[Tensor, Tensor]], seed: int = 0
    ) -> None:
        if model.backbone.model_name != 'resnet18':
            raise ConfigError(f'the transcription of DiffusionMTL is of a resnet18, not of {model.backbone.model_name}')
        decoder = model.decoder
        self.model, self.inputs = model, inputs
        self.names = {published_name(t): n for n, t in model.tasks.items()}
        tasks = {p: model.tasks[n] for p, n in self.names.items()}
        self.setting = Setting(
            {p: t.out_channels for p, t in tasks.items()},
            decoder.mode,
            decoder.in_channels[0],
            next(iter(decoder.denoiser.refiners.values()))[1].out_channels,
            decoder.chain.steps,
            {p: t.loss_weight for p, t in tasks.items()},
            getattr(tasks.get('edge'), 'positive_weight', 0.95),
        )
        self.reference = DiffusionMTL(self.setting).train(model.training)
        schedule = {n: getattr(self.reference.diffusion_model, n).clone() for n in BUFFERS}
        randomize(self.reference, seed)
        for name, value in schedule.items():
            getattr(self.reference.diffusion_model, name).copy_(value)
        renamed, _, unknown = convert(self.reference.state_dict(), self.names)
        if unknown:
            raise ValueError(f'the transcription has parameters without a place: {unknown[:3]}')
        model.load_state_dict(renamed)
        self.batch = self._published_batch(targets)
        generator = torch.Generator().manual_seed(seed)
        grid = [n // 8 for n in inputs.shape[-2:]]
        kinds = ['q', *(f'p{t}' for t in range(self.setting.steps - 1, 0, -1))]
        self.noise = {
            kind: {
                p: torch.randn(
                    len(inputs), c if decoder.mode == 'prediction' else self.setting.width, *grid, generator=generator
                )
                for p, c in self.setting.tasks.items()
            }
            for kind in kinds
        }

    def _published_batch(self, targets: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Labels of all samples, zeros where there is none, and who has which."""
        given = torch.zeros(len(self.inputs), len(self.names), dtype=torch.long)
        batch = {'image': self.inputs, 'task_w': given}
        for i, (published, own) in enumerate(self.names.items()):
            index, label = targets.get(own, (torch.zeros(0, dtype=torch.long), None))
            given[index, i] = 1
            if label is not None:
                label = label[:, None].float() if published in DISCRETE or label.ndim == 3 else label.nan_to_num(255.0)
                whole = torch.zeros(len(self.inputs), *label.shape[1:])
                whole[index] = label
                batch[published] = whole
        return batch

    def draws(self) -> dict[str, Tensor]:
        """The draws under the names that the network asks for."""
        return {f'{kind}.{self.names[p]}': noise for kind, row in self.noise.items() for p, noise in row.items()}

    def _drawn(self, kind: str, task: str, sample: int | None, like: Tensor) -> Tensor:
        if kind == 'p0':  # drawn and not used
            return torch.randn_like(like)
        noise = self.noise[kind][task]
        return noise if sample is None else noise[sample : sample + 1]

    def run_reference(self) -> Any:
        """Prediction, or the total loss with the gradients left in the transcription."""
        if not self.reference.training:
            with torch.no_grad():
                return self.reference.forward_eval(self.inputs, self._drawn)
        for parameter in self.reference.parameters():
            parameter.grad = None
        finals, first = self.reference.forward_train(self.inputs, self.batch['task_w'], self._drawn)
        total, _ = total_loss(self.setting, finals, first, self.batch)
        total.backward()
        return total.detach()

    def compare_predictions(self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
        """As :func:`benchmarks.reference.match.differences`."""
        return differences({p: (found[own], expected[p]) for p, own in self.names.items()})

    def compare_steps(self, losses: Mapping[str, Tensor], expected: Tensor) -> dict[str, float]:
        """Relative differences of the total loss and of the gradients."""
        wanted = convert({n: p.grad for n, p in self.reference.named_parameters() if p.grad is not None}, self.names)[0]
        total = sum(v.item() for v in losses.values())
        return {
            'loss, relative': abs(total - expected.item()) / abs(expected.item()),
            **gradient_differences(self.model, wanted),
        }

    def work(self) -> str:
        """What a prediction of the transcription computes."""
        with torch.device('meta'):
            model = DiffusionMTL(self.setting).eval()
        total = count_prediction(model, self.inputs.shape)
        return f'{total / 1e9:.1f} G multiply-accumulates in the convention of fvcore'
