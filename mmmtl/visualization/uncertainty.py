"""How an uncertainty map looks: dark where predictions agree, bright where they differ most."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from mmmtl.tasks.base import Legend, colour_ramp, stripe_unknown


def draw_spread(task: Any, spread: np.ndarray) -> tuple[np.ndarray, Legend]:
    """Picture and legend of a task's uncertainty.

    Args:
        task: The task, for unit and limit (:meth:`mmmtl.tasks.Task.spread`).
        spread: (1, H, W) or (H, W), of at least 0.

    Returns:
        uint8 RGB (H, W, 3) from 0 to the task's limit, where it has none to the 99 % quantile; and its legend.
    """
    spread = np.asarray(spread, np.float32).reshape(np.shape(spread)[-2:])
    values = np.nan_to_num(spread)
    high = task.spread_limit or max(float(np.quantile(values, 0.99)), 1e-6)
    ramp = colour_ramp(cv2.COLORMAP_INFERNO)
    picture = ramp[(values / high * 255).clip(0, 255).astype(np.uint8)]
    return stripe_unknown(picture, np.isnan(spread)), Legend(ramp=ramp, low=0.0, high=high, unit=task.spread_unit)
