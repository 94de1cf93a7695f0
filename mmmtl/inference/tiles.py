"""A large photograph in overlapping tiles of the size of the training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmmtl.datasets.io.inputs import ImageInput
from mmmtl.models.enlarged_maps import EnlargedMaps, is_large
from mmmtl.models.ensemble import sampling
from mmmtl.models.sizes import fitting_steps, tile_size
from mmmtl.models.tiles import Box, predict_in_tiles
from mmmtl.registry import TRANSFORMS

from .options import PredictOptions
from .preparation import Preparation


@torch.no_grad()
def predict_image_in_tiles(
    model: Any,
    preparation: Preparation,
    item: ImageInput,
    images: Sequence[np.ndarray],
    overlap: float,
    options: PredictOptions,
) -> dict[str, np.ndarray]:
    """``{task: (C, H, W)}`` of an image that is cut into tiles; reduced before where ``max_side`` says so."""
    size = images[0].shape[:2]
    results = preparation.reduced(item, images, options.max_side)
    frames = [results[key] for key in ('img', 'img_next') if key in results]
    keeping = [s for s in preparation.steps if not hasattr(s, 'size') and not hasattr(s, 'multiple')]
    padding = [TRANSFORMS.build(step) for step in fitting_steps(preparation.sizes, 'pad')]
    tasks = {name: model.tasks[name] for name in options.tasks or model.tasks}

    def raw_maps(box: Box) -> dict[str, Tensor]:
        top, left, height, width = box
        cut = [frame[top : top + height, left : left + width] for frame in frames]
        part = preparation.start(f'{item.sample_id}@{top},{left}', item.path, cut)
        for step in (*keeping[:-1], *padding, keeping[-1]):
            part = step(part)
        data = dict(inputs=[part['inputs']], data_samples=[part['data_samples']])
        ready = model.data_preprocessor(data, False)
        with sampling(model, options.steps, options.seed):
            maps = model(ready['inputs'], ready['data_samples'], mode='tensor', tasks=list(tasks))
        start_x, _, start_y, _ = ready['data_samples'][0].metainfo.get('padding', (0, 0, 0, 0))
        return {n: m[..., start_y : start_y + height, start_x : start_x + width] for n, m in maps.items()}

    pred = predict_in_tiles(raw_maps, tasks, frames[0].shape[:2], tile_size(preparation.sizes), overlap)
    return pred if is_large(size) else dict(EnlargedMaps(pred, tasks, size))
