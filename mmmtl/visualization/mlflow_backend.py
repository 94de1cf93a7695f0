"""MLflow as a place for scalars and pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
from mmengine.visualization import MLflowVisBackend as _MLflowVisBackend

from mmmtl.registry import VISBACKENDS


@VISBACKENDS.register_module()
class MLflowVisBackend(_MLflowVisBackend):
    """mmengine's, whose pictures have names that MLflow takes: it knows a picture's format by the end of its name."""

    def add_image(self, name: str, image: np.ndarray, step: int = 0, **kwargs: Any) -> None:
        """Keep a picture as ``NAME_STEP.png``, as the local backend does.

        Args:
            name: Name of the picture, with folders.
            image: uint8 RGB (H, W, 3).
            step: Iteration.
        """
        self.experiment.log_image(image, f'{name}_{step}.png')
