"""Backbones: image → tuple of feature maps. Those of mmsegmentation are reachable by scope (``mmseg.ResNetV1c``)."""

from .timm_backbone import TimmBackbone

__all__ = ['TimmBackbone']
