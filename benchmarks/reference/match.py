"""Put a network of the toolbox and the literal transcription of its method side by side: weights, draws, results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.config import Config
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.reference import taskdiffusion
from mmmtl.apis.model import build_model
from mmmtl.models.taskdiffusion import ConvConditions, CrossTaskDenoiser, CrossTaskLabelEncoder, MLoREConditions
from mmmtl.models.taskdiffusion.converter import convert
from mmmtl.models.taskdiffusion.denoiser import MaskInteraction

PUBLISHED = ('semseg', 'depth', 'human_parts', 'sal', 'normals', 'edge')


def published_name(task: Any) -> str:
    """The published name of a task."""
    for name in (type(task).default_name, *type(task).aliases):
        if name in PUBLISHED:
            return name
    raise ValueError(f'{task} is not among the tasks that the published program knows: {", ".join(PUBLISHED)}')


def setting_of(model: nn.Module, size: tuple[int, int]) -> taskdiffusion.Setting:
    """Sizes and switches of a TaskDiffusion network on a plain ViT."""
    decoder, body = model.decoder, model.backbone.body
    conditions = decoder.conditions
    experts = getattr(conditions, 'num_experts', 0)
    block = conditions.levels[0][0] if experts else None
    names = {published_name(t): t for t in model.tasks.values()}
    weights = {n: t.loss_weight for n, t in names.items()}
    return taskdiffusion.Setting(
        tasks={n: t.out_channels for n, t in names.items()},
        size=tuple(size),
        width=decoder.in_channels[0],
        vit_dim=body.embed_dim,
        vit_depth=len(body.blocks),
        vit_heads=body.blocks[0].attn.num_heads,
        blocks=tuple(i + 1 for i in model.backbone.out_indices[:-1]),
        loss_weights=weights,
        edge_weight=getattr(names.get('edge'), 'positive_weight', 0.95),
        aux_weight=decoder.aux_weight,
        steps=len(decoder.step_times),
        repeats=decoder.repeats,
        scale=decoder.label_encoder.scale,
        ranks=tuple(e.down.out_channels for e in block.experts) if block else (),
        topk=next(iter(block.router.values())).topk if block else 0,
        special_rank=next(iter(block.own.values())).down.out_channels if block else 72,
    )


class Pair:
    """A network and its transcription with the same weights, inputs and draws.

    Args:
        model: TaskDiffusion network; its weights are replaced by the transcription's random ones.
        inputs: (B, 3, H, W).
        targets: ``{task: (positions, labels)}``, every sample labelled.
        seed: Seed of weights and draws.
    """

    def __init__(
        self, model: nn.Module, inputs: Tensor, targets: Mapping[str, tuple[Tensor, Tensor]], seed: int = 0
    ) -> None:
        self.model, self.inputs, size = model, inputs, tuple(inputs.shape[-2:])
        self.setting = setting_of(model, size)
        self.names = {published_name(t): n for n, t in model.tasks.items()}
        self.reference = taskdiffusion.ReferenceTaskDiffusion(self.setting).train(model.training)
        taskdiffusion.randomize(self.reference, seed)
        renamed, _, unknown = convert(self.reference.state_dict(), self.names)
        if unknown:
            raise ValueError(f'the transcription has parameters without a place: {unknown[:3]}')
        model.load_state_dict(renamed)
        self.labels = {p: self._published_label(p, targets[n][1]) for p, n in self.names.items()}
        generator, batch = torch.Generator().manual_seed(seed), len(inputs)
        z = (model.decoder.label_encoder.channels, *self.setting.grid)
        self.start = torch.randn(batch * self.setting.repeats, *z, generator=generator)
        self.time = torch.rand(batch, generator=generator) * 0.999
        self.noise = torch.randn(batch, *z, generator=generator)
        experts = len(self.setting.ranks)
        self.routes = [
            torch.randn(batch, experts, generator=generator) for _ in range(8 * len(self.names) * bool(experts))
        ]

    @staticmethod
    def _published_label(name: str, label: Tensor) -> Tensor:
        if label.ndim == 3:
            return label[:, None].float()
        return label.nan_to_num(0.0 if name == 'depth' else 255.0)

    def draws(self) -> dict[str, Tensor]:
        """The draws under the names that the network asks for."""
        parts = self.start.split(len(self.inputs))
        named = {'start' if i == 0 else f'start.{i}': z for i, z in enumerate(parts)}
        order = [(level, n, block) for level in range(4) for n in self.names.values() for block in range(2)]
        routes = {f'router.{lv}.{n}.{b}': draw for (lv, n, b), draw in zip(order, self.routes)}
        return {**named, 'time': self.time, 'noise': self.noise, **routes}

    def run_reference(self) -> Any:
        """Prediction, or losses with gradients, of the transcription: (total, main, auxiliary, balance)."""
        if not self.reference.training:
            self.setting.draws = [self.start]
            with torch.no_grad():
                return self.reference.predict(self.inputs)
        self.setting.draws = [self.time, self.noise, *self.routes]
        for parameter in self.reference.parameters():
            parameter.grad = None
        done = self.reference.losses(self.inputs, self.labels)
        done[0].backward()
        return done

    def compare_predictions(self, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, float]:
        """As :func:`differences`."""
        return differences({p: (found[own], expected[p]) for p, own in self.names.items()})

    def compare_steps(self, losses: Mapping[str, Tensor], expected: Any) -> dict[str, float]:
        """Relative differences of the total loss and of the gradients."""
        total = sum(v.item() for v in losses.values())
        wanted = convert({n: p.grad for n, p in self.reference.named_parameters()}, self.names)[0]
        return {
            'loss, relative': abs(total - expected[0].item()) / abs(expected[0].item()),
            **gradient_differences(self.model, wanted),
        }

    def work(self) -> str:
        """What a prediction of the transcription computes."""
        counts = count_reference(self.setting, len(self.inputs))
        return f'{counts.layers / 1e9:.1f} G multiply-accumulates in convolutions and linear layers'


def differences(maps: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, float]:
    """``{published task: (found, expected)}`` → largest difference and relative L2, and the share of other classes."""
    relative, norm, flips, pixels = [], [], 0, 0
    for task, (found, expected) in maps.items():
        size = expected.shape[-2:]
        if found.shape[-2:] != size:  # raw maps, which the model brings to the image's size
            found = F.interpolate(found.float(), size, mode='bilinear', align_corners=False)
        a, b = found.double(), expected.double()
        relative.append((a - b).abs().max() / b.abs().max())
        norm.append((a - b).norm() / b.norm())
        if task in taskdiffusion.DISCRETE:
            flips += (a.argmax(1) != b.argmax(1)).sum().item()
            pixels += a[:, 0].numel()
    return {
        'largest relative difference': torch.stack(relative).max().item(),  # NaN where one is
        'relative L2': torch.stack(norm).max().item(),
        'share of argmax that differs': flips / max(pixels, 1),
    }


def gradient_differences(model: nn.Module, wanted: Mapping[str, Tensor]) -> dict[str, float]:
    """Relative L2 of the gradients of ``model``: of all together, and of the worst parameter."""
    whole = torch.stack([g.norm() for g in wanted.values()]).norm()
    difference, worst = [], [0 * whole]
    for name, parameter in model.named_parameters():
        norm = (parameter.grad - wanted[name]).norm()
        difference.append(norm)
        if wanted[name].norm() > 1e-5 * whole:  # smaller ones are zero in exact arithmetic
            worst.append(norm / wanted[name].norm())
    return {
        'gradients, relative L2': (torch.stack(difference).norm() / whole).item(),
        'gradients, worst parameter': torch.stack(worst).max().item(),
    }


@dataclass
class ReferenceCounts:
    """What the transcription takes for one prediction.

    Attributes:
        parameters: Without auxiliary heads.
        layers: Multiply-accumulates of convolutions and linear layers whose results are used.
        discarded: Those of the encoding of the last step's prediction, which nothing reads.
    """

    parameters: int
    layers: float
    discarded: float


def count_reference(setting: taskdiffusion.Setting, batch: int = 1) -> ReferenceCounts:
    """Count the transcription without allocating it."""
    layers = []
    for discarded in (False, True):
        with torch.device('meta'), torch.no_grad():
            model = taskdiffusion.ReferenceTaskDiffusion(replace(setting, discarded=discarded)).eval()
            with FlopCounterMode(display=False) as counter:
                model.predict(torch.empty(batch, 3, *setting.size))
        products = {str(op).split('.')[-1]: n for op, n in counter.get_flop_counts()['Global'].items()}
        layers.append(sum(products.get(op, 0) for op in ('convolution', 'addmm', 'mm')) / 2)
    parameters = sum(p.numel() for n, p in model.named_parameters() if 'aux_heads' not in n)
    return ReferenceCounts(parameters, layers[0], layers[1] - layers[0])


def follows_published_flow(decoder: nn.Module) -> bool:
    """Whether a TaskDiffusion decoder computes what the published program computes, and none of the alternatives."""
    denoiser, encoder, upsample = decoder.denoiser, decoder.label_encoder, decoder.upsample
    if (type(denoiser), type(encoder)) != (CrossTaskDenoiser, CrossTaskLabelEncoder):
        return False
    apart = [n for n in encoder.tasks if published_name(encoder.tasks[n]) == 'sal']
    return (
        all(type(i) is MaskInteraction for i in denoiser.task_interaction)
        and denoiser.post_interaction is not None
        and denoiser.level_interaction is not None
        and {m.act for m in denoiser.level_interaction.values()} == {'softmax'}
        and type(decoder.conditions) in (ConvConditions, MLoREConditions)
        and (len(denoiser.image), upsample, encoder.separate) == (4, 4, apart)
    )


def count_of_config(cfg: Config, size: tuple[int, int]) -> ReferenceCounts | None:
    """:func:`count_reference` of a config's network; None where there is no transcription of it."""
    with torch.device('meta'):
        model = build_model(cfg, initialize=False)
    if not getattr(model.backbone, 'plain_vit', False):
        return None
    try:
        return count_reference(setting_of(model, size)) if follows_published_flow(model.decoder) else None
    except ValueError:  # tasks that the published program does not know
        return None
