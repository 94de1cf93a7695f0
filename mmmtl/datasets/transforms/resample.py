"""Pictures and labels picked at the pixel centres of a smaller grid, as StableMTL trains and evaluates on them."""

from __future__ import annotations

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.registry import TRANSFORMS

from .base import Results, Transform, check_aligned, map_images, map_labels, size_pair


def nearest_exact(old: int, new: int) -> np.ndarray:
    """Of ``old`` pixels, those under the centres of ``new`` pixels: int64 (new,); torch's ``nearest-exact``."""
    return np.minimum(np.floor((np.arange(new) + 0.5) * (old / new)), old - 1).astype(np.int64)


@TRANSFORMS.register_module()
class ResampleNearest(Transform):
    """Bring images and labels to a size by picking pixels; what comes out counts as the original.

    In training and in test mode alike: predictions and labels are compared at this size. Values stay as they are, so
    motion is still counted in the pixels of the picture before (StableMTL compares it after fitting a scale per
    channel). Picking pixels aliases the image; that is what the published weights are used to.

    Args:
        size: (height, width).
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size_pair(size, 'ResampleNearest')

    def transform(self, results: Results) -> Results:
        old = results['img'].shape[:2]
        if any(results['padding']):
            raise ConfigError(
                'ResampleNearest: what it gives counts as the original, so nothing may be padded before it'
            )
        check_aligned(results, 'ResampleNearest')
        rows, columns = (nearest_exact(o, n) for o, n in zip(old, self.size))
        map_images(results, lambda image: np.ascontiguousarray(image[rows][:, columns]))
        map_labels(results, lambda task, label: label.take(rows, axis=-2).take(columns, axis=-1))
        results['img_shape'] = results['ori_shape'] = self.size
        results['scale_factor'] = (1.0, 1.0)
        return results


@TRANSFORMS.register_module()
class RandomVerticalFlip(Transform):
    """Turn pictures upside down; motion and normals change the sign of their vertical component. For training only.

    Draw: ``random() < prob``.

    Args:
        prob: Probability of a flip.
    """

    draws_random = True

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ConfigError(f'RandomVerticalFlip: prob must lie in [0, 1], got {prob}')
        self.prob = prob

    def transform(self, results: Results) -> Results:
        if results['rng'].random() < self.prob:
            map_images(results, lambda image: np.ascontiguousarray(image[::-1]))
            map_labels(results, lambda task, label: task.flip(label, 'vertical'))
            left, right, top, bottom = results['padding']
            results['padding'] = (left, right, bottom, top)
        return results


@TRANSFORMS.register_module()
class PrefixSampleId(Transform):
    """Put a name before the sample id, so that samples of several data sets stay apart: ``NAME/ID``.

    Args:
        name: The name, without a slash.
    """

    def __init__(self, name: str) -> None:
        if not name or '/' in name:
            raise ConfigError(f"PrefixSampleId: name must be a word without '/', got {name!r}")
        self.name = name

    def transform(self, results: Results) -> Results:
        results['sample_id'] = f'{self.name}/{results["sample_id"]}'
        return results
