"""InvPT (Ye and Xu, "Inverted Pyramid Multi-task Transformer for Dense Scene Understanding", ECCV 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from mmmtl.models.layers.inverted_pyramid import InvertedPyramidDecoder
from mmmtl.registry import MODELS


@MODELS.register_module()
class InvPTDecoder(InvertedPyramidDecoder):
    """Inverted pyramid transformer on levels that all tasks share; arguments of its base."""

    def split_levels(self, feats: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor, Tensor]:
        return [feats[-1]] * len(self.tasks), feats[1], feats[0]
