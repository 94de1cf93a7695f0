"""A step of another package that changes colours: mmsegmentation's photometric transforms."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.registry import TRANSFORMS

from .base import Results, Transform


@TRANSFORMS.register_module()
class ColourStep(Transform):
    """A transform of mmsegmentation (``mmseg.PhotoMetricDistortion``, ``mmseg.CLAHE``, ...) on the image alone.

    It is given the image as mmsegmentation has it, uint8 BGR, and a map of positions in the place of the segmentation: a
    transform that moves pixels is refused, for depth, normals and flow change their values with it, which only this
    package's own geometric transforms do. Random numbers come from the sample's own source; both frames of a pair are
    changed alike.

    Args:
        transform: Config.

    Raises:
        ConfigError: The transform moves pixels, or changes the image's size.
    """

    def __init__(self, transform: Mapping[str, Any]) -> None:
        scope, _, _ = str(transform.get('type', '')).rpartition('.')
        self.step = TRANSFORMS.build({**({'_scope_': scope} if scope else {}), **transform})

    def transform(self, results: Results) -> Results:
        """Change the frames."""
        seed = results['rng'].getrandbits(32)
        # the steps of other packages draw from the global generators
        states = np.random.get_state(), random.getstate()  # noqa: NPY002
        drawn = False
        try:
            for key in ('img', 'img_next'):
                if key in results:
                    np.random.seed(seed)  # noqa: NPY002
                    random.seed(seed)
                    before = _place()
                    results[key] = self._changed(results[key])
                    drawn |= _place() != before
        finally:
            np.random.set_state(states[0])  # noqa: NPY002
            random.setstate(states[1])
        if drawn and results.get('test_mode'):
            raise ConfigError(
                f'ColourStep: test_mode=True, but {type(self.step).__name__} changes the images at random: leave it out of '
                'this pipeline'
            )
        return results

    def _changed(self, image: np.ndarray) -> np.ndarray:
        size = image.shape[:2]
        places = np.arange(size[0] * size[1], dtype=np.float32).reshape(size)
        bgr = np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8)[..., ::-1])
        given = dict(
            img=bgr,
            img_shape=size,
            ori_shape=size,
            scale_factor=1.0,
            gt_seg_map=places.copy(),
            seg_fields=['gt_seg_map'],
        )
        changed = self.step(given)
        if changed['img'].shape != image.shape or not np.array_equal(changed['gt_seg_map'], places):
            raise ConfigError(
                f'ColourStep: {type(self.step).__name__} moves pixels or changes the size. Labels would not follow it: use '
                f'a geometric transform of this package (RandomScale, RandomCrop, RandomFlip, CentredPad, ...)'
            )
        return np.ascontiguousarray(changed['img'][..., ::-1]).astype(image.dtype)


def _place() -> tuple[int, Any]:
    """Where the global generators stand."""
    numbers: Any = np.random.get_state()  # noqa: NPY002
    return numbers[2], random.getstate()
