"""Backbones: image → tuple of feature maps. Those of mmsegmentation are reachable by scope (``mmseg.ResNetV1c``)."""

from .segnet import SegNet
from .timm_backbone import TimmBackbone

__all__ = ['SegNet', 'TimmBackbone']
