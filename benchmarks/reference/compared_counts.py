"""Multiply-accumulates of the compared methods' published data flows, out of what is executed here and what is spared.

What the published programs compute beyond it: InvPT and TSP-Transformer a layer of the third skip that nothing reads,
TSP-Transformer the patch embedding, the common blocks and the skips once for every task, MTI-Net its heads' first
convolution on enlarged maps. MLoRE's published count is that of the re-parameterised network, whose experts' kernels are
at hand; here they are made of their factors for every image, which counts, too.
"""

from __future__ import annotations

import copy
from typing import Any
from unittest import mock

from mmengine.config import Config
from torch import Tensor

from mmmtl.analysis.complexity import count_complexity
from mmmtl.apis.convert import empty_network
from mmmtl.models.layers.mlore import MLoREBlock

METHODS = {
    'InvPTDecoder': 'InvPT',
    'TSPDecoder': 'TSP-Transformer',
    'MTINetDecoder': 'MTI-Net',
    'MLoREDecoder': 'MLoRE, re-parameterised',
}


def _kernels_at_hand(block: MLoREBlock, entered: list[Tensor], routes: list[Any]) -> list[Tensor]:
    """One convolution per task: what is left where the kernels are at hand."""
    return [block.shared(x) for x in entered]


def _skips(network: Any, positions: int, tasks: int) -> int:
    """What the skips cost for every task, with the third, whose result is not used, less what they cost once."""
    layers, width = network.decoder.skips, network.decoder.in_channels[-1]
    third = 9 * width * 2 * layers[0].out_channels * positions
    return (tasks - 1) * sum(9 * layer.weight.shape[:2].numel() * positions for layer in layers) + tasks * third


def compared_counts(cfg: Config, size: tuple[int, int]) -> tuple[int, int] | None:
    """Multiply-accumulates in convolutions and linear layers, and with attention, of one prediction.

    Args:
        cfg: Config of one of :data:`METHODS`.
        size: (H, W) of the input.

    Returns:
        None of an InvPT on a residual network, which is a reconstruction.
    """
    cfg = copy.deepcopy(cfg)
    network, pixels, spared = empty_network(cfg), size[0] * size[1], 0
    kind, tasks = cfg.model.decoder.type, len(network.tasks)
    if kind in ('InvPTDecoder', 'TSPDecoder'):
        if set(network.decoder.strides) != {16}:
            return None
        spared = _skips(network, pixels // 16**2, tasks if kind == 'TSPDecoder' else 1)
    if kind == 'TSPDecoder':
        cfg.model.backbone.share_trunk = 'never'
        spared += (tasks - 1) * 3 * network.backbone.body.embed_dim * pixels
    elif kind == 'MTINetDecoder':
        widths = network.decoder.in_channels
        finer = sum(c * (1 - 0.25**k) for k, c in enumerate(widths))
        spared = round(len(network.decoder.heads) * sum(widths) * finer * pixels / network.decoder.strides[0] ** 2)
    with mock.patch.object(MLoREBlock, '_collapsed', _kernels_at_hand):
        whole = count_complexity(cfg, size).total()
    return whole.layers + spared, whole.layers + whole.products + spared
