"""A training sample of PASCAL-Context as its data flow is published: float maps (H, W, C), one step after the other.

The slow, obvious derivation of ``configs/_base_/datasets/pascal.py``: every map is float32 from the file on, normals are
masked class by class, crops are judged by a list of all their values, colours change in floats. Draws come from a
``random.Random`` in the published order. What is slow for other reasons (MATLAB files, thinning) is read before.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from PIL import Image

Maps = dict[str, np.ndarray]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
UNKNOWN = 255.0


def load(files: Mapping[str, str], derived: Mapping[str, np.ndarray], trusted: Sequence[int]) -> Maps:
    """Photograph, class ids, saliency and normals from their files; ``derived``: boundaries, parts, context classes."""
    maps = {'image': np.array(Image.open(files['image']).convert('RGB')).astype(np.float32)}
    maps['semseg'] = np.array(Image.open(files['semseg'])).astype(np.float32)[..., None]
    saliency = np.array(Image.open(files['saliency']).convert('L')).astype(np.float32) / 255.0
    maps['saliency'] = (saliency > 0.5).astype(np.float32)[..., None]
    normals = 2.0 * np.array(Image.open(files['normals'])).astype(np.float32) / 255.0 - 1.0
    mask = np.zeros(normals.shape[:2])
    for number in trusted:
        mask[derived['context'] == number] = 1
    for channel in range(3):
        normals[..., channel] = normals[..., channel] * mask
    maps['normals'] = normals
    for name in ('boundary', 'human_parts'):
        maps[name] = derived[name].astype(np.float32)[..., None]
    return maps


def _resized(image: np.ndarray, size: tuple[int, int], mode: int) -> np.ndarray:
    out = cv2.resize(image, size[::-1], interpolation=mode)
    return out[..., None] if out.ndim == 2 else out


def scale(maps: Maps, rng: random.Random) -> Maps:
    """Zoom by 0.5 to 2."""
    factor = rng.uniform(0.5, 2.0)
    height, width = maps['image'].shape[:2]
    size = int(height * factor), int(width * factor)
    return {n: _resized(m, size, cv2.INTER_LINEAR if n == 'image' else cv2.INTER_NEAREST) for n, m in maps.items()}


def crop(maps: Maps, rng: random.Random, size: tuple[int, int], largest: float = 0.75) -> Maps:
    """A box in which no class covers three quarters, if ten draws find one."""
    height, width = maps['image'].shape[:2]

    def draw() -> tuple[int, int]:
        return rng.randint(0, max(height - size[0], 0)), rng.randint(0, max(width - size[1], 0))

    top, left = draw()
    for _ in range(10):
        part = maps['semseg'][top : top + size[0], left : left + size[1]]
        labels, counts = np.unique(part, return_counts=True)
        counts = counts[labels != UNKNOWN]
        if len(counts) > 1 and np.max(counts) / np.sum(counts) < largest:
            break
        top, left = draw()
    return {n: m[top : top + size[0], left : left + size[1]] for n, m in maps.items()}


def flip(maps: Maps, rng: random.Random) -> Maps:
    """Mirror half of the samples."""
    if rng.random() < 0.5:
        maps = {n: np.fliplr(m).copy() for n, m in maps.items()}
        maps['normals'][..., 0] *= -1
    return maps


def _convert(image: np.ndarray, alpha: float = 1, beta: float = 0) -> np.ndarray:
    return np.clip(image.astype(np.float32) * alpha + beta, 0, 255).astype(np.uint8)


def distort(maps: Maps, rng: random.Random) -> Maps:
    """Brightness, contrast, saturation, hue."""
    image = maps['image'].astype(np.uint8)
    if rng.random() < 0.5:
        image = _convert(image, beta=rng.uniform(-32, 32))
    first = rng.random() < 0.5
    if first and rng.random() < 0.5:
        image = _convert(image, alpha=rng.uniform(0.5, 1.5))
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 1] = _convert(hsv[..., 1], alpha=rng.uniform(0.5, 1.5))
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if rng.random() < 0.5:
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + rng.randint(-18, 17)) % 180
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if not first and rng.random() < 0.5:
        image = _convert(image, alpha=rng.uniform(0.5, 1.5))
    return {**maps, 'image': image.astype(np.float32)}


def finish(maps: Maps, size: tuple[int, int]) -> Maps:
    """Normalise, pad, mark what is unknown, and bring the channels to the front."""
    image = maps['image'] / 255.0
    maps = {**maps, 'image': ((image - np.array(MEAN)) / np.array(STD)).astype(np.float32)}
    height, width = maps['image'].shape[:2]
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    frame = ((top, size[0] - height - top), (left, size[1] - width - left), (0, 0))
    padded = {
        n: np.pad(m, frame, constant_values=0.0 if n in ('image', 'normals') else UNKNOWN) for n, m in maps.items()
    }
    padded['normals'][np.linalg.norm(padded['normals'], axis=2) == 0] = UNKNOWN
    if set(np.unique(padded['human_parts'])) <= {0.0, UNKNOWN}:
        padded['human_parts'][:] = UNKNOWN
    return {n: np.ascontiguousarray(m.transpose(2, 0, 1)).astype(np.float32) for n, m in padded.items()}


STAGES = ('load', 'scale and crop', 'flip and colours', 'normalise, pad, pack')


def sample(
    files: Mapping[str, str],
    derived: Mapping[str, np.ndarray],
    trusted: Sequence[int],
    rng: random.Random,
    size: tuple[int, int],
    clock: object = None,
) -> Maps:
    """A sample; ``clock(stage)`` is called after each of :data:`STAGES`."""
    tick = clock if callable(clock) else lambda stage: None
    maps = load(files, derived, trusted)
    tick(STAGES[0])
    maps = crop(scale(maps, rng), rng, size)
    tick(STAGES[1])
    maps = distort(flip(maps, rng), rng)
    tick(STAGES[2])
    maps = finish(maps, size)
    tick(STAGES[3])
    return maps
