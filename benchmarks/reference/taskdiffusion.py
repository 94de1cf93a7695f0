"""TaskDiffusion as its data flow is published: per-task loops, everything recomputed where the authors recompute it.

This is the slow, obvious derivation: no tensor is shared, merged, cached or fused beyond what the authors' program does.
It serves as the second derivation in tests (same numbers as :mod:`mmmtl.models.taskdiffusion.decoder`), writes the small
golden file of the test suite, and is the baseline of ``tools/analysis_tools/benchmark.py``. Parameter names are those of
the published checkpoints, so a published state dict loads as it is; labels are float maps with 255 (depth: 0) as unknown.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DISCRETE = ('semseg', 'human_parts', 'sal')
CHANNELS = {'depth': 1, 'normals': 3, 'edge': 1}


@dataclass
class Setting:
    """Sizes and switches of one variant.

    Attributes:
        tasks: Task name to number of output channels, in the published order.
        size: Height and width of the input in pixels.
        width: E, channels of the decoder.
        vit_dim, vit_depth, vit_heads: Shape of the ViT/16.
        blocks: 1-based ViT blocks of the first three levels; the fourth is the last block, normalised.
        ranks, topk: MLoRE expert ranks and experts kept per sample; no ranks = plain variant.
    """

    tasks: dict[str, int]
    size: tuple[int, int]
    width: int
    vit_dim: int
    vit_depth: int
    vit_heads: int
    blocks: tuple[int, ...]
    loss_weights: dict[str, float]
    edge_weight: float = 0.95
    aux_weight: float = 0.25
    steps: int = 3
    repeats: int = 1
    scale: float = 0.01
    ranks: tuple[int, ...] = ()
    topk: int = 3
    balance_weight: float = 3e-4
    special_rank: int = 72
    discarded: bool = True
    """Whether the last step's prediction is encoded too, whose code nobody reads."""
    draws: list = field(default_factory=list)
    """Random draws to consume instead of fresh ones, in the published order."""

    @property
    def grid(self) -> tuple[int, int]:
        return self.size[0] // 16, self.size[1] // 16

    def draw(self, make) -> Tensor:
        """The next recorded draw, or a fresh one."""
        return self.draws.pop(0) if self.draws else make()


# ---- backbone --------------------------------------------------------------------------------------------------------
class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        b, n, c = x.shape
        q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attention = ((q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5).softmax(-1)
        return self.proj((attention @ v).transpose(1, 2).reshape(b, n, c))


class Mlp(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = Attention(dim, heads), Mlp(dim)

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Backbone(nn.Module):
    def __init__(self, s: Setting):
        super().__init__()
        self.s = s
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, s.vit_dim, 16, 16)
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + s.grid[0] * s.grid[1], s.vit_dim) * 0.02)
        self.blocks = nn.ModuleList(Block(s.vit_dim, s.vit_heads) for _ in range(s.vit_depth))
        self.norm = nn.LayerNorm(s.vit_dim, eps=1e-6)
        self.fea_fuse = nn.ModuleList(nn.Conv2d(s.vit_dim, s.width, 1) for _ in range(4))

    def forward(self, image):
        x = self.patch_embed.proj(image).flatten(2).transpose(1, 2) + self.pos_embed[:, 1:]
        levels = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i + 1 in self.s.blocks:
                levels.append(x)
        levels.append(self.norm(x))
        h, w = self.s.grid
        maps = [fuse(t.transpose(1, 2).reshape(-1, self.s.vit_dim, h, w)) for fuse, t in zip(self.fea_fuse, levels)]
        return {task: torch.cat(maps, 1) for task in self.s.tasks}


# ---- blocks ----------------------------------------------------------------------------------------------------------
class Film(nn.Module):
    """BN → FiLM by the time embedding, the tail shared by all "with time" blocks."""

    def __init__(self, cin: int, cout: int, kernel: int, width: int, after: int = 0, kernel_after: int = 1):
        super().__init__()
        self.conv_1 = nn.Conv2d(cin, cout, kernel, padding=kernel // 2)
        self.norm = nn.BatchNorm2d(cout)
        self.time_mlp = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * cout))
        if after:
            self.conv_2 = nn.Conv2d(cout, after, kernel_after, padding=kernel_after // 2)

    def forward(self, x, time):
        scale, shift = self.time_mlp(time)[..., None, None].chunk(2, 1)
        x = self.norm(self.conv_1(x)) * (scale + 1) + shift
        return self.conv_2(F.gelu(x)) if hasattr(self, 'conv_2') else x


def conv_mlp(width: int) -> nn.Sequential:
    """feat_task of the plain variant: twice conv3x3 → BN → GELU → conv1x1."""
    layers = []
    for _ in range(2):
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.GELU(), nn.Conv2d(width, width, 1)]
    return nn.Sequential(*layers)


class ConvMLP(nn.Module):
    """Auxiliary head of the plain variant."""

    def __init__(self, cin: int, width: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(cin, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.conv_2, self.conv_3 = nn.Conv2d(width, width, 1), nn.Conv2d(cin, width, 1)

    def forward(self, x):
        return self.conv_2(F.gelu(self.norm(self.conv_1(x)))) + self.conv_3(x)


class FpnAux(nn.Module):
    """Auxiliary head of the MLoRE variant: levels weighed by a softmax mask."""

    def __init__(self, width: int):
        super().__init__()
        self.task_mask = nn.Sequential(
            nn.Conv2d(4 * width, width, 1), nn.BatchNorm2d(width), nn.GELU(), nn.Conv2d(width, 4, 3, padding=1)
        )

    def forward(self, x):
        mask = self.task_mask(x).softmax(1)
        return sum(m * level for m, level in zip(mask.split(1, 1), x.chunk(4, 1)))


class Lora(nn.Module):
    def __init__(self, width: int, rank: int):
        super().__init__()
        self.W, self.M = nn.Conv2d(width, rank, 3, padding=1), nn.Conv2d(rank, width, 1)

    def forward(self, x):
        return self.M(self.W(x))


class SpatialAtt(nn.Module):
    def __init__(self, width: int, positions: int):
        super().__init__()
        quarter = width // 4
        self.conv1, self.ln = nn.Conv2d(width, quarter, 1), nn.LayerNorm(quarter)
        self.convsp, self.ln_sp = nn.Linear(positions, 1), nn.LayerNorm(width)
        self.conv2, self.conv3 = nn.Conv2d(width, quarter, 1), nn.Conv2d(quarter, quarter, 1)

    def forward(self, x):
        a = F.gelu(self.ln(self.conv1(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        a = self.conv3(a).mean((2, 3), keepdim=True)
        b = F.gelu(self.ln_sp(self.convsp(x.flatten(2)).transpose(1, 2)))
        return torch.cat([a, self.conv2(b.transpose(1, 2)[..., None])], 1)


class MOEBlock(nn.Module):
    """One block of MLoRE: dense low-rank experts shared by the tasks, weighed per sample by a router."""

    def __init__(self, s: Setting):
        super().__init__()
        self.s, e = s, s.width
        self.lora_list_1 = nn.ModuleList(Lora(e, r) for r in s.ranks)
        self.conv1 = nn.ModuleDict({t: nn.Conv2d(e, e, 1) for t in s.tasks})
        self.conv2 = nn.ModuleDict({t: Lora(e, s.special_rank) for t in s.tasks})
        self.conv3 = nn.ModuleDict({t: nn.Conv2d(e, e, 1) for t in s.tasks})
        self.share_conv = nn.Conv2d(e, e, 3, padding=1)
        self.bn = nn.ModuleDict({t: nn.BatchNorm2d(e) for t in s.tasks})
        self.bn_all = nn.ModuleDict({t: nn.BatchNorm2d(e) for t in s.tasks})
        self.router_1 = nn.ModuleDict(
            {
                t: nn.Sequential(SpatialAtt(e, s.grid[0] * s.grid[1]), nn.Conv2d(e // 4 * 2, 2 * len(s.ranks) + 1, 1))
                for t in s.tasks
            }
        )

    def forward(self, x, task):
        experts = len(self.s.ranks)
        o = self.conv1[task](x)
        routed = self.router_1[task](o)
        logits, std, mix = routed.split((experts, experts, 1), 1)
        if self.training:
            noise = self.s.draw(lambda: torch.randn_like(logits))
            logits = logits + noise.reshape(logits.shape) * std
        gate = logits.softmax(1)
        dropped = gate.topk(experts - self.s.topk, dim=1, largest=False).indices
        gate = gate.clone()
        for sample in range(gate.shape[0]):
            for index in () if gate.is_meta else dropped[sample].flatten():
                gate[sample, index] = 0
        total = sum(gate[:, e : e + 1] * expert(o) for e, expert in enumerate(self.lora_list_1))
        out = self.bn_all[task](total) + self.conv2[task](o) * mix + self.share_conv(o.detach())
        return self.conv3[task](F.gelu(self.bn[task](out))), gate


# ---- denoiser --------------------------------------------------------------------------------------------------------
class FpnEncoder(nn.Module):
    def __init__(self, s: Setting):
        super().__init__()
        self.s, e, n = s, s.width, len(s.tasks)
        self.share_fpn = nn.Module()
        self.share_fpn.fpn_conv = nn.ModuleList(nn.ModuleList(Film(e, e, 3, e, e) for _ in range(2)) for _ in range(4))
        self.mask_task = nn.ModuleList(Film(e, n * n, 3, e) for _ in range(4))
        if s.ranks:
            self.feat_task = nn.ModuleList(nn.ModuleList(MOEBlock(s) for _ in range(2)) for _ in range(4))
        else:
            self.feat_task = nn.ModuleList(nn.ModuleDict({t: conv_mlp(e) for t in s.tasks}) for _ in range(4))
        self.specific_head = nn.ModuleList(nn.ModuleDict({t: Film(e, e, 1, e) for t in s.tasks}) for _ in range(4))
        self.fpn_mask = nn.ModuleDict({t: Film(4 * e, e, 1, e, 4, 3) for t in s.tasks})

    def conditions(self, levels):
        """F_i^s: [level][task], and the routes [block][level][task] of the MLoRE variant."""
        found, routes = [], [[{} for _ in range(4)] for _ in range(2)]
        for i, x in enumerate(levels):
            row = {}
            for task in self.s.tasks:
                if self.s.ranks:
                    y = x
                    for k, block in enumerate(self.feat_task[i]):
                        y, routes[k][i][task] = block(y, task)
                    row[task] = y
                else:
                    row[task] = self.feat_task[i][task](x)
            found.append(row)
        return found, routes

    def forward(self, mixed, time, conditions):
        tasks, n = list(self.s.tasks), len(self.s.tasks)
        fused = {t: [] for t in tasks}
        for i, x in enumerate(mixed.chunk(4, 1)):
            for block in self.share_fpn.fpn_conv[i]:
                x = block(x, time)
            relation = self.mask_task[i](x, time)
            relation = relation.reshape(relation.shape[0], n, n, *relation.shape[2:])
            for target, task in enumerate(tasks):
                u = 0
                for source, other in enumerate(tasks):
                    u = u + relation[:, target, source].sigmoid()[:, None] * conditions[i][other]
                fused[task].append(self.specific_head[i][task](u, time))
        result = {}
        for task in tasks:
            mask = self.fpn_mask[task](torch.cat(fused[task], 1), time).softmax(1)
            result[task] = sum(mask[:, i : i + 1] * fused[task][i] for i in range(4))
        return result


class LearnedSinusoid(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.Parameter(torch.randn(8))

    def forward(self, x):
        angle = x[:, None] * self.weights * 2 * math.pi
        return torch.cat([x[:, None], angle.sin(), angle.cos()], 1)


def log_snr(t: Tensor) -> Tensor:
    return -torch.log(((torch.cos((t + 0.0002) / 1.00025 * math.pi * 0.5) ** -2) - 1).clamp(min=1e-5))


def alpha_sigma(snr: Tensor) -> tuple[Tensor, Tensor]:
    return snr.sigmoid().sqrt()[:, None, None, None], (-snr).sigmoid().sqrt()[:, None, None, None]


class Heads(nn.Module):
    def __init__(self, s: Setting):
        super().__init__()
        self.s, e, quarter = s, s.width, s.width // 4
        self.apart = 'sal' in s.tasks
        self.code_channels = e + quarter if self.apart else e
        self.embedding_tables = nn.ModuleDict(
            {
                t: nn.Embedding(c + 1, quarter) if t in DISCRETE else nn.Conv2d(CHANNELS[t], quarter, 1)
                for t, c in s.tasks.items()
            }
        )
        self.invalid_embedding_tables = nn.ModuleDict(
            {t: nn.Embedding(1, quarter) for t in s.tasks if t not in DISCRETE}
        )
        self.embed_all = nn.Conv2d((len(s.tasks) - self.apart) * quarter, e, 1)
        self.transforms = nn.Module()
        self.transforms.conv_transforms = nn.ModuleList(nn.Conv2d(e + self.code_channels, e, 1) for _ in range(4))
        self.time_mlp = nn.Sequential(LearnedSinusoid(), nn.Linear(17, e), nn.GELU(), nn.Linear(e, e))
        self.fpn_encoder = FpnEncoder(s)
        self.encoders = nn.ModuleList(nn.ModuleDict({t: Film(e, e, 3, e, e) for t in s.tasks}) for _ in range(3))
        self.pred_heads = nn.ModuleDict({t: nn.Conv2d(e, c, 3, padding=1) for t, c in s.tasks.items()})
        aux = (lambda: FpnAux(e)) if s.ranks else (lambda: ConvMLP(4 * e, e))
        self.aux_heads = nn.ModuleDict(
            {t: nn.Sequential(aux(), nn.Conv2d(e, c, 3, padding=1)) for t, c in s.tasks.items()}
        )

    # codes
    def encode(self, codes: dict[str, Tensor]) -> Tensor:
        mixed = self.embed_all(torch.cat([codes[t] for t in self.s.tasks if not (self.apart and t == 'sal')], 1))
        self.embedded = mixed
        if self.apart:
            mixed = torch.cat([codes['sal'], mixed], 1)
        return (mixed.sigmoid() * 2 - 1) * self.s.scale

    def code(self, task: str, value: Tensor) -> Tensor:
        if task in DISCRETE:
            return self.embedding_tables[task](value.long()).permute(0, 3, 1, 2)
        return self.embedding_tables[task](value)

    def codes_of_labels(self, targets: dict[str, Tensor], grid) -> dict[str, Tensor]:
        codes = {}
        for task, label in targets.items():
            if task in DISCRETE:
                small = F.interpolate(label, grid, mode='nearest')[:, 0].long()
                codes[task] = self.code(task, torch.where(small == 255, self.s.tasks[task], small))
            else:
                unknown = (label == 255).to(label).mean(1, keepdim=True)
                label, unknown = (
                    F.interpolate(m, grid, mode='bilinear', align_corners=False) for m in (label, unknown)
                )
                invalid = self.invalid_embedding_tables[task].weight[0][None, :, None, None]
                codes[task] = unknown * invalid + (1 - unknown) * self.code(task, label)
        return codes

    def codes_of_logits(self, logits: dict[str, Tensor]) -> dict[str, Tensor]:
        codes = {}
        for task, x in logits.items():
            if task == 'sal':
                value = (x.softmax(1)[:, 1] > 0.85).long()
            elif task in DISCRETE:
                value = x.argmax(1)
            elif task == 'depth':
                value = x.clamp_(0, 80)
            else:
                value = x.sigmoid() if task == 'edge' else F.normalize(x, dim=1)
            codes[task] = self.code(task, value)
        return codes

    # network
    def denoise(self, levels, z, time, conditions, up: bool) -> dict[str, Tensor]:
        mixed = torch.cat([conv(torch.cat([x, z], 1)) for conv, x in zip(self.transforms.conv_transforms, levels)], 1)
        features = self.fpn_encoder(mixed, time, conditions)
        logits = {}
        for task, x in features.items():
            for j in range(3):
                if j == 2 and up:
                    x = F.interpolate(x, scale_factor=4, mode='bilinear', align_corners=False)
                x = x + self.encoders[j][task](x, time)
            logits[task] = self.pred_heads[task](x)
        return logits

    def auxiliary(self, conditions) -> dict[str, Tensor]:
        logits = {}
        for task in self.s.tasks:
            x = torch.cat([row[task] for row in conditions], 1)
            x = F.interpolate(x, scale_factor=4, mode='bilinear', align_corners=False)
            logits[task] = self.aux_heads[task](x)
        return logits


class ReferenceTaskDiffusion(nn.Module):
    """The whole model; ``train_outputs`` and ``predict`` are its two uses."""

    def __init__(self, setting: Setting):
        super().__init__()
        self.s = setting
        self.backbone = Backbone(setting)
        self.heads = Heads(setting)

    def train_outputs(self, image: Tensor, targets: dict[str, Tensor]):
        """Full-size logits of the main and auxiliary heads, and the load-balancing term (0 in the plain variant)."""
        heads, s = self.heads, self.s
        z0 = heads.encode(heads.codes_of_labels(targets, s.grid))
        t = s.draw(lambda: torch.zeros(image.shape[0]).uniform_(0, 0.999))
        snr = log_snr(t)
        noise = s.draw(lambda: torch.randn_like(z0))
        alpha, sigma = alpha_sigma(snr)
        levels = self.backbone(image)['semseg' if 'semseg' in s.tasks else next(iter(s.tasks))].chunk(4, 1)
        conditions, routes = heads.fpn_encoder.conditions(levels)
        logits = heads.denoise(levels, alpha * z0 + sigma * noise, heads.time_mlp(snr), conditions, True)
        aux = heads.auxiliary(conditions)
        full = [{k: F.interpolate(v, s.size, mode='bilinear') for k, v in maps.items()} for maps in (logits, aux)]
        return full[0], full[1], balance(routes) if s.ranks else image.new_zeros(())

    def losses(self, image: Tensor, targets: dict[str, Tensor]):
        """(total, main losses, auxiliary losses, load balance), unweighted but for the total."""
        logits, aux, cv = self.train_outputs(image, targets)
        main, side = (
            {t: task_loss(t, x[t], targets[t], self.s.edge_weight) for t in self.s.tasks} for x in (logits, aux)
        )
        total = sum(self.s.loss_weights[t] * (main[t] + self.s.aux_weight * side[t]) for t in self.s.tasks)
        return total + self.s.balance_weight * cv, main, side, cv

    def predict(self, image: Tensor) -> dict[str, Tensor]:
        """Full-size logits (B, C, H, W) after ``steps`` DDIM steps."""
        heads, s = self.heads, self.s
        levels = [x.repeat(s.repeats, 1, 1, 1) for x in self.backbone(image)[next(iter(s.tasks))].chunk(4, 1)]
        batch = levels[0].shape[0]
        z = s.draw(lambda: torch.randn(batch, heads.code_channels, *s.grid))
        conditions, _ = heads.fpn_encoder.conditions(levels)
        for k in range(s.steps):
            now = torch.full((batch,), 1 - k / s.steps)
            after = torch.full((batch,), max(1 - (k + 2) / s.steps, 0.0))
            last = k == s.steps - 1
            logits = heads.denoise(levels, z, heads.time_mlp(log_snr(now)), conditions, last)
            if last and not s.discarded:
                break
            if last:
                z = F.interpolate(z, scale_factor=4, mode='bilinear', align_corners=False)
            z0 = heads.encode(heads.codes_of_logits(logits))
            (alpha, sigma), (alpha_next, sigma_next) = alpha_sigma(log_snr(now)), alpha_sigma(log_snr(after))
            z = alpha_next * z0 + sigma_next * (z - alpha * z0) / sigma.clamp(min=1e-8)
        logits = {t: x.reshape(s.repeats, -1, *x.shape[1:]).mean(0) for t, x in logits.items()}
        return {t: F.interpolate(x, s.size, mode='bilinear', align_corners=False) for t, x in logits.items()}


# ---- losses ----------------------------------------------------------------------------------------------------------
def balance(routes) -> Tensor:
    """Load balancing: squared coefficient of variation of the mean gate, summed over blocks and levels."""
    total = 0
    for block in routes:
        for level in block:
            mean = torch.stack([g.flatten(1).mean(0) for g in level.values()]).mean(0)
            total = total + (mean.std() / mean.mean()) ** 2
    return total


def task_loss(task: str, x: Tensor, y: Tensor, edge_weight: float) -> Tensor:
    """The published loss of one task on full-size logits and float labels."""
    if task in ('semseg', 'human_parts'):
        y = y[:, 0].long()
        return F.cross_entropy(x, y, ignore_index=255, reduction='sum') / (y != 255).sum().clamp(min=1)
    if task == 'sal':
        y = y[:, 0].long()
        known = (y != 255).sum()
        positive = (y == 0).sum() / known
        weight = torch.stack([1 - positive, positive]).to(x)
        return F.cross_entropy(x, y, weight=weight, ignore_index=255, reduction='sum') / known
    if task == 'edge':
        known = y != 255
        x, y = x[known], y[known]
        factor = 1 / (1 - edge_weight)
        weight = torch.tensor(edge_weight * factor, dtype=x.dtype)
        return F.binary_cross_entropy_with_logits(x, y, pos_weight=weight) / factor
    if task == 'normals':
        known = (y != 255).all(1, keepdim=True)
        error = (F.normalize(x, dim=1) - y).abs() * known
    else:
        known = y != 0
        error = (x - y).abs() * known
    return error.sum() / known.sum()


def randomize(model: nn.Module, seed: int) -> None:
    """Random weights and BN statistics that exercise every parameter, each from its own seed: the name and ``seed``."""
    with torch.no_grad():
        for name, value in model.state_dict(keep_vars=True).items():
            if not value.is_floating_point():
                value.zero_()
                continue
            generator = torch.Generator().manual_seed(zlib.crc32(f'{seed} {name}'.encode()))
            noise = torch.randn(value.shape, generator=generator)
            if name.endswith('running_var'):
                value.copy_(0.5 + noise.abs())
            elif value.ndim == 1 and name.endswith('weight'):
                value.copy_(1 + 0.2 * noise)
            elif value.ndim <= 1 or name.endswith('running_mean'):
                value.copy_(0.1 * noise)
            else:
                value.copy_(noise * (0.8 / math.sqrt(value[0].numel())))
