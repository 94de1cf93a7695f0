"""What every transform shares: the dict that travels through a pipeline and how to reach the maps in it.

Keys of the dict: ``img`` and, for frame pairs, ``img_next``: uint8 or float32 RGB (H, W, 3), 0..255; ``gt``:
labels by task (classes as uint8, which the last step widens); ``leaked``: hidden labels the crop may look at (empty
but for one parity switch); ``tasks``: the task objects; ``rng``: ``random.Random``, the only source of randomness;
``sample_id``, ``img_path``, ``ori_shape``, ``img_shape``, ``padding`` (left, right, top, bottom), ``scale_factor``
(w, h), ``flip``, ``test_mode``; ``photograph``, how its file was read, where the data set lets one choose.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.tasks import Task

Results = dict[str, Any]


class Transform(ABC):
    """One step of a pipeline: takes the dict, changes it, returns it."""

    draws_random = False
    """Whether it draws random numbers."""

    @abstractmethod
    def transform(self, results: Results) -> Results:
        """Change ``results`` in place and return it."""

    def __call__(self, results: Results) -> Results:
        return self.transform(results)

    def __repr__(self) -> str:
        shown = ', '.join(f'{k}={v!r:.60}' for k, v in vars(self).items() if not k.startswith('_'))
        return f'{type(self).__name__}({shown})'


def new_results(
    images: Sequence[np.ndarray],
    tasks: Mapping[str, Task],
    info: Mapping[str, Any],
    labels: Mapping[str, np.ndarray | None] | None = None,
    leaked: Mapping[str, np.ndarray | None] | None = None,
    test_mode: bool = False,
) -> Results:
    """The dict of a sample before the first transform; who calls it adds ``rng``.

    Args:
        images: One frame or two of one size.
        tasks: All tasks.
        info: ``sample_id``, ``img_path`` and what else is known of the sample.
        labels: Visible labels; None where the sample has none.
        leaked: Hidden labels that a crop may look at.
        test_mode: Labels stay at the original size.
    """
    size = images[0].shape[:2]
    results = dict(info, **dict(zip(('img', 'img_next'), images)), tasks=tasks, test_mode=test_mode)
    results['gt'] = {name: label for name, label in (labels or {}).items() if label is not None}
    results['leaked'] = {name: label for name, label in (leaked or {}).items() if label is not None}
    return dict(results, ori_shape=size, img_shape=size, padding=(0, 0, 0, 0), scale_factor=(1.0, 1.0), flip=False)


def map_images(results: Results, change: Callable[[np.ndarray], np.ndarray]) -> None:
    """Apply ``change`` to every frame."""
    for key in ('img', 'img_next'):
        if key in results:
            results[key] = change(results[key])


def map_labels(results: Results, change: Callable[[Task, np.ndarray], np.ndarray]) -> None:
    """Apply ``change(task, label)`` to every label in the dict."""
    for store in ('gt', 'leaked'):
        labels = results.get(store, {})
        for name in labels:
            labels[name] = change(results['tasks'][name], labels[name])


def check_aligned(results: Results, step: str) -> None:
    """Refuse to cut labels that do not lie on their image.

    Raises:
        ConfigError: A label of another size than the image.
    """
    size = results['img'].shape[:2]
    for name, label in results['gt'].items():
        if label.shape[-2:] != size:
            raise ConfigError(
                f"{step}: sample '{results.get('sample_id')}': the label '{name}' has {label.shape[-2]}x{label.shape[-1]} "
                f'pixels (height x width), its image {size[0]}x{size[1]}: leave out the step before it that changes the image '
                f'alone (Resize or CentredPad in test mode), or say labels=True there'
            )


def size_pair(size: Any, where: str) -> tuple[int, int]:
    """(height, width) from a pair or one number.

    Raises:
        ConfigError: Anything else, or a size that is not positive.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(v, int) and v > 0 for v in pair):
        raise ConfigError(f'{where}: expected (height, width) in pixels, got {size!r}')
    return pair  # type: ignore[return-value]
