"""Cross-task consistency: what one task's prediction says must agree with another task's label.

Li, Liu and Bilen, "Learning Multiple Dense Prediction Tasks from Partially Annotated Data" (MTPSL), CVPR 2022, section 3.

==============  =======================================================  ========================
here            paper                                                    shape
==============  =======================================================  ========================
``maps[s]``     prediction of a task without a label, y-hat_s            (B, C_s, h, w), raw
``targets[t]``  label of another task, y_t                               (n, ...) and its images
``mapping``     m, the network that maps a pair s to t into one space    (P, F, H / 32, W / 32)
``joint``       m_s(y-hat_s) and m_t(y_t) of every pair, in turn         as above, unit length
``anchor``      f, the backbone's deepest map, held constant             as above, unit length
==============  =======================================================  ========================

B images, C_s channels of task s, P rows (two per pair of an image), F channels of the joint space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.models.decoder import Targets, zero_loss
from mmmtl.models.layers.conv_block import on_grid
from mmmtl.models.regularizer import LabelRegularizer, targets_of_view
from mmmtl.ops.precision import to_float32
from mmmtl.ops.take_rows import take_rows
from mmmtl.registry import MODELS

from .mapping import MappingNetwork, joint_label, joint_prediction, pair_index

PAIRS = ('auto', 'unlabelled', 'all')


@MODELS.register_module()
class XTC(LabelRegularizer):
    """Any decoder, trained with cross-task consistency besides its own losses; in prediction it is that decoder.

    For a labelled image, predictions of its unlabelled tasks s and labels of its labelled tasks t are mapped
    into a joint space by one small network, and l(s, t) = d(m_s, m_t) + ``feature_weight`` · (d(m_s, f) +
    d(m_t, f)) is added, where d is 1 minus the mean cosine over positions and f the backbone's deepest map,
    held constant. Pairs are summed, images averaged. The mapping network learns in the same step; all rows go
    through it as one batch.

    Noise names: those of the decoder, and ``gumbel.<source>.<target>``: uniform draws for sources with classes.

    Args:
        decoder: Config of the decoder; tasks, channels and strides are filled in.
        neck: Config of a neck between the backbone and ``decoder``; ``f`` is taken before it.
        feature_level: Level of the backbone that is f.
        weight: Factor of the consistency loss (published: 2 on NYUD, 1 on Cityscapes).
        feature_weight: See above (published: 0.5).
        pairs: ``unlabelled``: unlabelled sources to labelled targets. ``all``: every prediction to every other
            task's label. ``auto``: ``all`` for completely labelled images, else ``unlabelled``.
        views: 2: the batch holds a second view of its images in its second half (see
            :class:`~mmmtl.models.cropped_views.CroppedViews`); the first is for the decoder's losses, the second for
            consistency.
            1: the same view serves both.
        filters: Channels of the mapping network's levels; the last is brought to f's by a 1x1 convolution of f
            where they differ.
        recompute: See :class:`~mmmtl.models.xtc.mapping.MappingNetwork`.
    """

    aux_modules = ('mapping', 'adapt')

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        decoder: Mapping[str, Any],
        neck: Mapping[str, Any] | None = None,
        feature_level: int = -1,
        weight: float = 2.0,
        feature_weight: float = 0.5,
        pairs: str = 'auto',
        views: int = 1,
        filters: Sequence[int] = (64, 128, 256, 512, 512),
        recompute: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, decoder, neck, views, init_cfg)
        if pairs not in PAIRS:
            raise ConfigError(f"XTC: pairs must be one of {PAIRS}, got '{pairs}'.{suggest(pairs, PAIRS)}")
        if views not in (1, 2):
            raise ConfigError(f'XTC: views must be 1 or 2, got {views}')
        self.feature_level, self.weight, self.feature_weight = feature_level, weight, feature_weight
        self.pairs = pairs
        self.mapping = MappingNetwork(self.tasks, filters, recompute)
        width = self.in_channels[feature_level]
        self.adapt = nn.Identity() if width == filters[-1] else nn.Conv2d(width, filters[-1], 1, bias=False)

    def loss(self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """The decoder's losses and ``loss_consistency``."""
        count = self.images_of(feats)
        first, last = (targets_of_view(targets, view, count) for view in (0, self.views - 1))
        losses, raw = self.decoder.loss_and_maps(self.inner_feats(feats), first, noise, size, batch=count)
        start = count * (self.views - 1)
        anchors = self.adapt(feats[self.feature_level][start:].detach())
        maps = {n: x[start:] for n, x in raw.items()}
        losses['loss_consistency'] = self.weight * self.consistency(maps, last, anchors, noise, size) / count
        return losses

    # ---- consistency -------------------------------------------------------------------------------------------------
    def find_pairs(self, targets: Targets, count: int) -> list[tuple[int, str, str]]:
        """``(image, source, target)`` of every term, images first, then sources, then targets."""
        names = list(self.tasks)
        given = {name: set(index.tolist()) for name, (index, _) in targets.items()}
        found = []
        for image in range(count):
            labelled = [image in given.get(name, ()) for name in names]
            every = self.pairs == 'all' or (self.pairs == 'auto' and all(labelled))
            for s, source in enumerate(names):
                if labelled[s] and not every:
                    continue
                found += [(image, source, t) for t, there in zip(names, labelled) if there and t != source]
        return found

    def consistency(
        self, maps: Mapping[str, Tensor], targets: Targets, anchors: Tensor, noise: Any, size: tuple[int, int]
    ) -> Tensor:
        """The sum of l(s, t) over images and pairs.

        Args:
            maps: Raw predictions ``{task: (B, C, h, w)}``.
            targets: Labels of the same images.
            anchors: f, (B, C, h, w).
            noise: Noise source.
            size: (H, W), the labels' grid.
        """
        found = self.find_pairs(targets, len(anchors))
        if not found:
            return zero_loss(self.mapping, self.adapt) + sum(x.flatten()[:0].sum() for x in maps.values())
        rows, positions = self._rows(found, maps, targets, noise, size)
        names = list(self.tasks)
        columns = [pair_index(names.index(s), names.index(t), len(names)) for _, s, t in found]
        order = torch.tensor([p for ps in positions.values() for p in ps], device=anchors.device)
        pair = torch.tensor(columns, device=anchors.device).repeat_interleave(2)
        joint = F.normalize(to_float32(self.mapping(rows, order, pair)), dim=1, eps=1e-12)
        image = torch.tensor([image for image, _, _ in found], device=anchors.device)
        anchor = take_rows(F.normalize(to_float32(anchors), dim=1, eps=1e-12), image)
        anchor = on_grid(anchor, joint.shape[-2:])
        source, target = joint[0::2], joint[1::2]
        cosine = (source * target + self.feature_weight * (source + target) * anchor).sum(1).mean((1, 2))
        return (1 + 2 * self.feature_weight - cosine).sum()

    def _rows(
        self,
        found: list[tuple[int, str, str]],
        maps: Mapping[str, Tensor],
        targets: Targets,
        noise: Any,
        size: tuple[int, int],
    ) -> tuple[dict[str, Tensor], dict[str, list[int]]]:
        """Inputs of the mapping network per task, and their positions: source and target of each pair in turn."""
        like = to_float32(next(iter(maps.values())))
        rows: dict[str, list[Tensor]] = {n: [] for n in self.tasks}
        positions: dict[str, list[int]] = {n: [] for n in self.tasks}
        for name, task in self.tasks.items():
            as_source = [k for k, (_, s, _) in enumerate(found) if s == name]
            if as_source:
                images = torch.tensor([found[k][0] for k in as_source], device=maps[name].device)
                logits = F.interpolate(
                    to_float32(take_rows(maps[name], images)), size, mode='bilinear', align_corners=False
                )
                draws = None
                if task.categorical and task.out_channels > 1:
                    draws = self._draws(name, found, as_source, logits, noise)
                rows[name].append(joint_prediction(task, logits, draws))
                positions[name] += [2 * k for k in as_source]
            as_target = [k for k, (_, _, t) in enumerate(found) if t == name]
            if as_target:
                index, label = targets[name]
                where = {image: row for row, image in enumerate(index.tolist())}
                rows[name].append(joint_label(task, label).to(like)[[where[found[k][0]] for k in as_target]])
                positions[name] += [2 * k + 1 for k in as_target]
        # in the order of their positions, in which the published program would take them one by one
        ordered = {n: sorted(range(len(p)), key=p.__getitem__) for n, p in positions.items() if p}
        return {n: torch.cat(rows[n])[i] for n, i in ordered.items()}, {n: sorted(positions[n]) for n in ordered}

    def _draws(
        self, source: str, found: list[tuple[int, str, str]], chosen: list[int], logits: Tensor, noise: Any
    ) -> Tensor:
        draws = torch.empty_like(logits)
        for target in self.tasks:
            mine = [i for i, k in enumerate(chosen) if found[k][2] == target]
            if mine:
                images = torch.tensor([found[chosen[i]][0] for i in mine], device=logits.device)
                draws[mine] = noise.uniform(
                    f'gumbel.{source}.{target}', (len(mine), *logits.shape[1:]), 0.0, 1.0, like=logits, index=images
                )
        return draws
