"""Semantic segmentation: what every pixel shows."""

from __future__ import annotations

from mmmtl.registry import TASKS

from .categorical import CategoricalTask


@TASKS.register_module()
class SemanticSegmentation(CategoricalTask):
    """A semantic class per pixel. Label: int64 (H, W), 255 unknown. The classes come from the data set's config."""

    default_name = 'semseg'
    aliases = ('semantic', 'segmentation', 'segmentsemantic')
    prompt = 'semantic'
    primary_metric = 'mIoU'
