"""Geometry: every map changes as its task says (``Task.resize``, ``zoom``, ``crop``, ``flip``, ``pad``)."""

from __future__ import annotations

import cv2
import numpy as np

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import TRANSFORMS

from .base import Results, Transform, check_aligned, map_images, map_labels, size_pair

INTERPOLATION = {
    'nearest': cv2.INTER_NEAREST,
    'linear': cv2.INTER_LINEAR,
    'cubic': cv2.INTER_CUBIC,
    'area': cv2.INTER_AREA,
}


def resize_image(image: np.ndarray, size: tuple[int, int], interpolation: str = 'linear') -> np.ndarray:
    """An image (H, W, 3) on a grid of ``size`` = (height, width)."""
    if image.shape[:2] == size:
        return image
    resized = cv2.resize(image, (size[1], size[0]), interpolation=INTERPOLATION[interpolation])
    return resized.clip(0, 255, out=resized) if interpolation == 'cubic' else resized  # of floats, it overshoots


def update_scale(results: Results, size: tuple[int, int]) -> None:
    """Note a resize from the present image size to ``size``; padding grows with the image, to whole pixels."""
    height, width = results['img'].shape[:2]
    across, down = results['scale_factor']
    results['scale_factor'] = (across * size[1] / width, down * size[0] / height)
    left, right, top, bottom = results['padding']
    columns, rows = size[1] / width, size[0] / height
    results['padding'] = (round(left * columns), round(right * columns), round(top * rows), round(bottom * rows))


@TRANSFORMS.register_module()
class RandomScale(Transform):
    """Zoom by a random factor s: image bilinear, labels by their task, values as if the camera had come s times closer.

    The new size is ``int(height * s), int(width * s)``. Draw: ``uniform(*scale)``.

    Args:
        scale: Smallest and largest factor.
    """

    draws_random = True

    def __init__(self, scale: tuple[float, float] = (0.5, 2.0)) -> None:
        low, high = (float(v) for v in scale)
        if not 0 < low <= high:
            raise ConfigError(f'RandomScale: scale must be (low, high) with 0 < low <= high, got {scale}')
        self.scale = (low, high)

    def transform(self, results: Results) -> Results:
        factor = results['rng'].uniform(*self.scale)
        height, width = results['img'].shape[:2]
        size = max(1, int(height * factor)), max(1, int(width * factor))
        update_scale(results, size)
        # in float32, so that the interpolated image is rounded once, after the flip, as in the published recipe
        map_images(results, lambda image: resize_image(np.asarray(image, np.float32), size))
        map_labels(results, lambda task, label: task.zoom(task.resize(label, size), factor))
        results['img_shape'] = size
        return results


@TRANSFORMS.register_module()
class RandomCrop(Transform):
    """A random box; an image smaller than the box keeps its size on that axis.

    With ``category_task``, a box is drawn again (up to ten times) until it holds more than one class and none
    covers ``max_ratio`` of its known pixels or more; the tenth redraw is taken as it is. Only a label that is
    visible is looked at: an image whose label of that task is hidden gets the first box (unless the dataset's
    ``leak_labels_to_crop`` says otherwise).

    Draws, for every box: ``randint(0, height - box height)``, ``randint(0, width - box width)``, both also
    where the range is 0.

    Args:
        size: (height, width) of the box.
        category_task: Name of a categorical task, or None.
        max_ratio: Largest share of one class.
    """

    draws_random = True
    tries = 10

    def __init__(self, size: tuple[int, int], category_task: str | None = None, max_ratio: float = 0.75) -> None:
        self.size = size_pair(size, 'RandomCrop')
        self.category_task, self.max_ratio = category_task, float(max_ratio)
        if not 0 < self.max_ratio <= 1:
            raise ConfigError(f'RandomCrop: max_ratio is a share in (0, 1], got {max_ratio}')

    def _draw(self, results: Results) -> tuple[int, int, int, int]:
        height, width = results['img'].shape[:2]
        box_height, box_width = min(self.size[0], height), min(self.size[1], width)
        top = results['rng'].randint(0, height - box_height)
        left = results['rng'].randint(0, width - box_width)
        return top, left, box_height, box_width

    def _mixed(self, label: np.ndarray) -> bool:
        """More than one class, none of them too large."""
        if label.dtype == np.uint8:
            counts = cv2.calcHist([label], [0], None, [256], (0, 256)).ravel()[:255]
        else:
            counts = np.bincount(label.reshape(-1), minlength=256)[:255]
        counts = counts[counts > 0]
        return len(counts) > 1 and counts.max() / counts.sum() < self.max_ratio

    def transform(self, results: Results) -> Results:
        box = self._draw(results)
        name = self.category_task
        if name is not None:
            task = results['tasks'].get(name)
            if task is None or not task.categorical:
                categorical = [n for n, t in results['tasks'].items() if t.categorical]
                raise ConfigError(
                    f"RandomCrop.category_task = '{name}' is not a categorical task of this dataset "
                    f'({categorical}).{suggest(name, categorical)}'
                )
            label = results['gt'].get(name, results.get('leaked', {}).get(name))
            if label is not None:
                for _ in range(self.tries):
                    if self._mixed(task.crop(label, *box)):
                        break
                    box = self._draw(results)
        return crop_results(results, *box)


def crop_results(results: Results, top: int, left: int, height: int, width: int) -> Results:
    """Cut the same box out of every map."""
    check_aligned(results, 'crop')
    map_images(results, lambda image: image[top : top + height, left : left + width])
    map_labels(results, lambda task, label: task.crop(label, top, left, height, width))
    before = results.get('padding') or (0, 0, 0, 0)
    right, bottom = (n - m for n, m in zip(results['img_shape'][::-1], (left + width, top + height)))
    results['padding'] = tuple(max(a - b, 0) for a, b in zip(before, (left, right, top, bottom)))
    results['img_shape'] = (height, width)
    return results


@TRANSFORMS.register_module()
class RandomFlip(Transform):
    """Mirror left and right; normals and motion change the sign of their horizontal component.

    Draw: ``random() < prob``.

    Args:
        prob: Probability of a flip.
    """

    draws_random = True

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ConfigError(f'RandomFlip: prob must lie in [0, 1], got {prob}')
        self.prob = prob

    def transform(self, results: Results) -> Results:
        if results['rng'].random() < self.prob:
            map_images(results, lambda image: np.ascontiguousarray(image[:, ::-1]))
            map_labels(results, lambda task, label: task.flip(label, 'horizontal'))
            left, right, top, bottom = results['padding']
            results['padding'] = (right, left, top, bottom)
            results['flip'] = not results['flip']
        return results


def _check_sizes(name: str, size: tuple[int, int] | None, multiple: int | None) -> None:
    if size is None and multiple is None:
        raise ConfigError(f'{name}: give size=(height, width), multiple=N, or both')
    if multiple is not None and (isinstance(multiple, bool) or not isinstance(multiple, int) or multiple < 1):
        raise ConfigError(f'{name}: multiple must be a whole number of at least 1, got {multiple!r}')


def _touch_labels(labels: bool | None, results: Results) -> bool:
    """Labels follow the image, except in test mode: predictions are compared at the original size."""
    return not results.get('test_mode', False) if labels is None else labels


@TRANSFORMS.register_module()
class Resize(Transform):
    """Bring the image to a size; labels follow it in training, and stay at the original size in test mode.

    Args:
        size: (height, width), or None to keep the size but for ``multiple``.
        keep_ratio: Fit into ``size`` instead of filling it.
        multiple: Round both sides to the nearest multiple.
        shrink_only: Leave images alone that already fit into ``size``.
        interpolation: ``linear``, ``cubic``, ``area`` or ``nearest``, of the image.
        labels: Whether labels follow; default: except in test mode.
    """

    def __init__(
        self,
        size: tuple[int, int] | None = None,
        keep_ratio: bool = False,
        multiple: int | None = None,
        shrink_only: bool = False,
        interpolation: str = 'linear',
        labels: bool | None = None,
    ) -> None:
        _check_sizes('Resize', size, multiple)
        if interpolation not in INTERPOLATION:
            raise ConfigError(
                f'Resize: interpolation must be one of {list(INTERPOLATION)}, got {interpolation!r}.'
                f'{suggest(interpolation, INTERPOLATION)}'
            )
        self.size = None if size is None else size_pair(size, 'Resize')
        self.keep_ratio, self.multiple, self.shrink_only = keep_ratio, multiple, shrink_only
        self.interpolation, self.labels = interpolation, labels

    def target(self, height: int, width: int) -> tuple[int, int]:
        """Size an image of ``height`` x ``width`` is brought to."""
        target = (height, width)
        if self.size is not None and not (self.shrink_only and height <= self.size[0] and width <= self.size[1]):
            target = self.size
            if self.keep_ratio:
                factor = min(self.size[0] / height, self.size[1] / width)
                target = max(1, round(height * factor)), max(1, round(width * factor))
        if self.multiple:
            step = self.multiple
            target = max(step, round(target[0] / step) * step), max(step, round(target[1] / step) * step)
        return target

    def transform(self, results: Results) -> Results:
        size = self.target(*results['img'].shape[:2])
        update_scale(results, size)
        map_images(results, lambda image: resize_image(image, size, self.interpolation))
        if _touch_labels(self.labels, results):
            map_labels(results, lambda task, label: task.resize(label, size))
        results['img_shape'] = size
        return results


@TRANSFORMS.register_module()
class CentredPad(Transform):
    """Pad around the image, half of it (rounded down) above and to the left; labels are unknown in the frame.

    The model's data preprocessor normalises and then sets the frame to 0, the mean colour, as the published recipes do.
    In test mode labels stay at the original size: predictions are cropped back to it.

    Args:
        size: (height, width) to reach at least; a larger image is an error unless ``multiple`` is given.
        multiple: Reach a multiple of this on both sides.
        labels: Whether labels are padded; default: except in test mode.
    """

    def __init__(
        self, size: tuple[int, int] | None = None, multiple: int | None = None, labels: bool | None = None
    ) -> None:
        _check_sizes('CentredPad', size, multiple)
        self.size = None if size is None else size_pair(size, 'CentredPad')
        self.multiple, self.labels = multiple, labels

    def _target(self, results: Results) -> tuple[int, int]:
        height, width = results['img'].shape[:2]
        least = self.size or (0, 0)
        if self.multiple:
            step = self.multiple
            return -(-max(height, least[0]) // step) * step, -(-max(width, least[1]) // step) * step
        if height > least[0] or width > least[1]:
            raise ConfigError(
                f"CentredPad: image {height}x{width} of sample '{results.get('sample_id')}' is larger than "
                f'size={least[0]}x{least[1]} (height x width): crop or resize it before (RandomCrop, '
                f'Resize(size, keep_ratio=True, shrink_only=True)), raise size, or give multiple=N'
            )
        return least

    def transform(self, results: Results) -> Results:
        height, width = results['img'].shape[:2]
        target = self._target(results)
        top, left = (target[0] - height) // 2, (target[1] - width) // 2
        bottom, right = target[0] - height - top, target[1] - width - left
        if not (top or left or bottom or right):
            return results
        map_images(
            results,
            lambda image: cv2.copyMakeBorder(
                np.ascontiguousarray(image), top, bottom, left, right, cv2.BORDER_CONSTANT, value=[0] * 3
            ),
        )
        if _touch_labels(self.labels, results):
            map_labels(results, lambda task, label: task.pad(label, left, right, top, bottom))
        before = results['padding']
        results['padding'] = tuple(a + b for a, b in zip(before, (left, right, top, bottom)))
        results['img_shape'] = target
        return results
