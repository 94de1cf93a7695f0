"""DiffusionMTL as its data flow is published: one denoiser call per sample, labelled task and step, nothing
shared.

The slow, obvious derivation: it serves as the second derivation in tests (same numbers as
:mod:`mmmtl.models.diffusionmtl.decoder`), writes the small golden file of the test suite, and is the
baseline of timings. Parameter names are those of the published checkpoints; labels are float maps with 255 as
unknown; ``task_w`` (B, T) says which are labelled. Prediction Diffusion was never published: it follows the
reconstruction whose parameter count and cost match the paper's table, with the roles of feature maps and
predictions exchanged.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BUFFERS = (
    'betas',
    'alphas_cumprod',
    'alphas_cumprod_prev',
    'sqrt_alphas_cumprod',
    'sqrt_one_minus_alphas_cumprod',
    'log_one_minus_alphas_cumprod',
    'sqrt_recip_alphas_cumprod',
    'sqrt_recipm1_alphas_cumprod',
    'posterior_variance',
    'posterior_log_variance_clipped',
    'posterior_mean_coef1',
    'posterior_mean_coef2',
)
LOSS_WEIGHTS = {'semseg': 1.0, 'human_parts': 2.0, 'sal': 5.0, 'edge': 50.0, 'normals': 10.0, 'depth': 1.0}


@dataclass
class Setting:
    """Sizes and switches of one variant.

    Attributes:
        tasks: Task name to number of output channels, in the published order.
        variant: ``feature`` or ``prediction``.
        width: D, channels of the decoder.
        hidden: Channels in the middle of the task heads.
        steps: S, denoising steps.
    """

    tasks: dict[str, int]
    variant: str = 'feature'
    width: int = 512
    hidden: int = 512
    steps: int = 2
    loss_weights: dict[str, float] = field(default_factory=lambda: dict(LOSS_WEIGHTS))
    edge_weight: float = 0.95


# ---- backbone and preliminary decoders -------------------------------------------------------------------------------
class BasicBlock(nn.Module):
    def __init__(self, cin: int, cout: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False), nn.BatchNorm2d(cout)
        self.conv2, self.bn2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False), nn.BatchNorm2d(cout)
        if stride > 1:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self.downsample(x) if hasattr(self, 'downsample') else x))


class ResNet18(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        channels = 64
        for i, width in enumerate((64, 128, 256, 512)):
            setattr(
                self,
                f'layer{i + 1}',
                nn.Sequential(BasicBlock(channels, width, 1 if i == 0 else 2), BasicBlock(width, width)),
            )
            channels = width

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        maps = []
        for i in range(4):
            x = getattr(self, f'layer{i + 1}')(x)
            maps.append(x)
        return maps


def resize(x: Tensor, **how) -> Tensor:
    """Bilinear, corners not aligned."""
    return F.interpolate(x, mode='bilinear', align_corners=False, **how)


# ---- denoiser --------------------------------------------------------------------------------------------------------
class Mlp(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(dim, dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
        self.proj = nn.Linear(dim, dim)

    def forward(self, query, source):
        b, n, c = query.shape
        q = self.q(query).reshape(b, n, self.heads, c // self.heads).transpose(1, 2)
        k, v = self.kv(source).reshape(b, n, 2, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attention = ((q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5).softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, c))


class CrossBlock(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = nn.LayerNorm(dim), Attention(dim), nn.LayerNorm(dim), Mlp(dim)
        self.mlp_kv, self.norm_kv, self.norm2_kv = Mlp(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)

    def forward(self, q, k):
        k = k + self.mlp_kv(self.norm2_kv(k))
        q = q + self.attn(self.norm1(q), self.norm_kv(k))
        return q + self.mlp(self.norm2(q)), k


class TimeEmbedding(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(256, dim), nn.SiLU(), nn.Linear(dim, dim))

    def forward(self, t):
        angles = t[:, None].float() * torch.exp(-math.log(10000) * torch.arange(128, device=t.device).float() / 128)
        return self.mlp(torch.cat((angles.cos(), angles.sin()), 1).to(self.mlp[0].weight.dtype))


class Head(nn.Module):
    def __init__(self, dim: int, channels: int):
        super().__init__()
        self.linear_pred = nn.Conv2d(dim, channels, 1)

    def forward(self, x):
        return self.linear_pred(x)


class Denoiser(nn.Module):
    def __init__(self, s: Setting):
        super().__init__()
        self.feature, d = s.variant == 'feature', s.width
        self.crossblocks = nn.ModuleList(CrossBlock(d) for _ in range(4))
        self.pre_layer = nn.ModuleDict({t: nn.Conv2d(d if self.feature else c, d, 3, 1, 1) for t, c in s.tasks.items()})
        self.task_heads = nn.ModuleDict(
            {
                t: nn.Sequential(
                    nn.Conv2d(d, d, 1),
                    nn.Conv2d(d, s.hidden, 3, 1, 1),
                    nn.ReLU(),
                    nn.Conv2d(s.hidden, d, 3, 1, 1),
                    nn.ReLU(),
                    nn.Conv2d(d, d, 3, 1, 1),
                    nn.ReLU(),
                )
                for t in s.tasks
            }
        )
        self.final_task_heads = nn.ModuleDict({t: Head(d, c) for t, c in s.tasks.items()})
        self.t_embedder = TimeEmbedding(d)

    def forward(self, x, condition, t, task):
        x0 = self.pre_layer[task](x) + self.t_embedder(t)[:, :, None, None]
        b, d, h, w = x0.shape
        q = resize(condition, scale_factor=0.25).flatten(2).transpose(1, 2)
        k = resize(x0, scale_factor=0.25).flatten(2).transpose(1, 2)
        for block in self.crossblocks:
            q, k = block(q, k)
        y = resize(q.transpose(1, 2).reshape(b, d, h // 4, w // 4), scale_factor=4)
        return self.task_heads[task](y + x0)


def schedule(steps: int) -> dict[str, Tensor]:
    """The twelve published buffers, computed in double precision."""
    betas = torch.linspace(1e-3**0.5, 1e-2**0.5, steps, dtype=torch.float64) ** 2
    alphas = 1 - betas
    bar = alphas.cumprod(0)
    previous = torch.cat((torch.ones(1, dtype=torch.float64), bar[:-1]))
    variance = betas * (1 - previous) / (1 - bar)
    values = (
        betas,
        bar,
        previous,
        bar.sqrt(),
        (1 - bar).sqrt(),
        (1 - bar).log(),
        (1 / bar).sqrt(),
        (1 / bar - 1).sqrt(),
        variance,
        variance.clamp_min(1e-20).log(),
        betas * previous.sqrt() / (1 - bar),
        (1 - previous) * alphas.sqrt() / (1 - bar),
    )
    return {n: v.float() for n, v in zip(BUFFERS, values)}


class Combinator(nn.Module):
    def __init__(self, channels: int, width: int):
        super().__init__()
        self.out_layer = nn.Conv2d(channels, width, 3, 1, 1)

    def forward(self, maps):
        return self.out_layer(torch.cat(list(maps.values()), 1))


class Diffusion(nn.Module):
    def __init__(self, s: Setting):
        super().__init__()
        self.s, self.feature = s, s.variant == 'feature'
        for name, value in schedule(s.steps).items():
            self.register_buffer(name, value)
        self.denoiser = Denoiser(s)
        self.pred_combinator = Combinator(sum(s.tasks.values()) if self.feature else len(s.tasks) * s.width, s.width)

    def chain(self, start, condition, task, noise):
        """q_sample, the noisy steps and the last one, for one task. ``noise`` gives q, p<S-1>, ... in turn."""
        last = self.s.steps - 1
        x = self.sqrt_alphas_cumprod[last] * start + self.sqrt_one_minus_alphas_cumprod[last] * noise('q', task)
        for step in range(last, -1, -1):
            t = torch.full((len(x),), step, device=x.device)
            clean = self.denoiser(x, condition, t, task)
            eps = noise(f'p{step}', task)
            if self.feature:
                clean = resize(clean, size=x.shape[-2:])  # the size it has already
            if not self.feature or step == 0:
                clean = self.denoiser.final_task_heads[task](clean)
            if step:
                x = (
                    self.posterior_mean_coef1[step] * clean
                    + self.posterior_mean_coef2[step] * x
                    + (0.5 * self.posterior_log_variance_clipped[step]).exp() * eps
                )
        return clean


class DiffusionMTL(nn.Module):
    """The whole published model; ``noise(kind, task, sample, like)`` gives every draw."""

    def __init__(self, s: Setting):
        super().__init__()
        self.s = s
        self.backbone = ResNet18()
        self.backbone_embed = nn.Conv2d(960, s.width, 3, 1, 1)
        self.preliminary_dec = nn.ModuleDict(
            {t: nn.Sequential(BasicBlock(s.width, s.width), BasicBlock(s.width, s.width)) for t in s.tasks}
        )
        self.preliminary_head = nn.ModuleDict({t: nn.Sequential(nn.Conv2d(s.width, c, 1)) for t, c in s.tasks.items()})
        self.diffusion_model = Diffusion(s)

    def preliminary(self, image):
        maps = self.backbone(image)
        size = [n // 2 for n in maps[0].shape[-2:]]
        fused = self.backbone_embed(torch.cat([resize(m, size=size) for m in maps], 1))
        features = {t: dec(fused) for t, dec in self.preliminary_dec.items()}
        return features, {t: self.preliminary_head[t](f) for t, f in features.items()}

    def diffusion_inputs(self, features, predictions):
        detached = {t: p.detach() for t, p in predictions.items()}
        combinator = self.diffusion_model.pred_combinator
        if self.s.variant == 'feature':
            return features, combinator(detached)
        return detached, combinator(features)

    def forward_eval(self, image, noise) -> dict[str, Tensor]:
        """Final logits of all tasks at the image's size."""
        features, predictions = self.preliminary(image)
        start, condition = self.diffusion_inputs(features, predictions)
        size, finals = image.shape[-2:], {}
        for t in self.s.tasks:

            def draw(kind, task):
                return noise(kind, task, None, start[task])

            finals[t] = resize(self.diffusion_model.chain(start[t], condition, t, draw), size=size)
        return finals

    def forward_train(self, image, task_w, noise):
        """Per sample the logits of its labelled tasks, and the intermediate logits of all tasks and samples."""
        features, predictions = self.preliminary(image)
        inter = {t: resize(p, size=image.shape[-2:]) for t, p in predictions.items()}
        start, condition = self.diffusion_inputs(features, predictions)
        finals = []
        for b in range(len(image)):

            def draw(kind, task, b=b):
                return noise(kind, task, b, start[task][b : b + 1])

            row = {}
            for i, t in enumerate(self.s.tasks):
                if task_w[b, i]:
                    clean = self.diffusion_model.chain(start[t][b : b + 1], condition[b : b + 1], t, draw)
                    row[t] = resize(clean, size=image.shape[-2:])
            finals.append(row)
        return finals, inter


# ---- losses ----------------------------------------------------------------------------------------------------------
def task_loss(task: str, x: Tensor, y: Tensor, edge_weight: float = 0.95) -> Tensor:
    """One task's loss; ``y`` (n, C, H, W) float, 255 unknown."""
    if task in ('semseg', 'human_parts'):
        label = y[:, 0].long()
        total = F.cross_entropy(x, label, ignore_index=255, reduction='sum')
        return total / max(int((label != 255).sum()), 1)
    if task == 'sal':
        label = y[:, 0].long()
        known = int((label != 255).sum())
        positive = (label == 0).sum().float() / known
        weight = torch.stack((1 - positive, positive))
        return F.cross_entropy(x, label, weight=weight.to(x), ignore_index=255, reduction='sum') / known
    known = (y != 255).all(1, keepdim=True)
    if task == 'edge':
        w = torch.tensor(edge_weight)
        return F.binary_cross_entropy_with_logits(x[known], y[known], pos_weight=w / (1 - w)) / (1 / (1 - w))
    x = F.normalize(x, dim=1) if task == 'normals' else x
    known = known.expand_as(y)
    return (x[known] - y[known]).abs().sum() / max(int(known[:, 0].sum()), 1)


def total_loss(s: Setting, finals, inter, batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Weighted sum over samples and labelled tasks, and the unweighted figures that are logged."""
    total, logged, count = 0.0, {}, len(batch['image'])
    for b in range(count):
        labelled = [t for i, t in enumerate(s.tasks) if batch['task_w'][b, i]]
        for t in labelled:
            y = batch[t][b : b + 1]
            final = task_loss(t, finals[b][t], y, s.edge_weight)
            first = task_loss(t, inter[t][b : b + 1], y, s.edge_weight)
            total = total + len(s.tasks) / len(labelled) * s.loss_weights[t] * (final + 0.5 * first) / count
            for name, value in ((t, final), (f'inter_{t}', first)):
                logged[name] = logged.get(name, 0.0) + value.detach() / count
    return total, logged
