"""The last step of every pipeline: numpy dict → tensors and a data sample."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mmmtl.errors import ConfigError
from mmmtl.registry import TRANSFORMS
from mmmtl.structures import MTLDataSample

from .base import Results, Transform

META_KEYS = ('sample_id', 'img_path', 'ori_shape', 'img_shape', 'padding', 'scale_factor', 'flip', 'photograph')


@TRANSFORMS.register_module()
class PackMTLInputs(Transform):
    """Let every task have its last look at its label (``Task.finish``), then pack.

    Result: ``inputs`` (3, H, W), or (2, 3, H, W) for a pair of frames, uint8 or float32; ``data_samples``: an
    ``MTLDataSample`` whose ``gt`` has a field per labelled task and none for the others; classes are int64.

    Args:
        meta_keys: Keys of the dict that become meta information, where present.
    """

    def __init__(self, meta_keys: tuple[str, ...] = META_KEYS) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: Results) -> dict[str, Any]:
        if 'img' not in results:
            raise ConfigError('PackMTLInputs: the sample is packed already: it stands once in a pipeline, at its end')
        frames = [results[k] for k in ('img', 'img_next') if k in results]
        planes = [np.ascontiguousarray(f.transpose(2, 0, 1)) for f in frames]
        inputs = torch.from_numpy(planes[0] if len(planes) == 1 else np.stack(planes))
        labels = {name: results['tasks'][name].finish(label) for name, label in results['gt'].items()}
        sample = MTLDataSample(metainfo={k: results[k] for k in self.meta_keys if k in results})
        sample.set_metainfo(dict(labeled_tasks=tuple(labels)))
        classes = {name for name in labels if results['tasks'][name].categorical and labels[name].dtype.kind in 'iu'}
        sample.gt = {n: np.ascontiguousarray(y, np.int64 if n in classes else None) for n, y in labels.items()}
        return dict(inputs=inputs, data_samples=sample)
