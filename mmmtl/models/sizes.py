"""Which sizes a network takes, and how a photograph of any size becomes one of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.config import Config
from torch import nn

from mmmtl.errors import ConfigError

FITS = ('pad', 'resize', 'tile')


@dataclass(frozen=True)
class Sizes:
    """The sizes of input that a network takes.

    Attributes:
        multiple: Both sides are multiples of this.
        fixed: The one (H, W) it takes; None where it takes others.
        training: (H, W) it was trained on; None where the config does not say.
    """

    multiple: int
    fixed: tuple[int, int] | None
    training: tuple[int, int] | None

    @property
    def max_side(self) -> int | None:
        """The longest side that predictions are worth making at: twice that of the training."""
        return None if self.training is None else 2 * max(self.training)


def sizes_of(model: nn.Module) -> Sizes:
    """The sizes a network takes, as its modules declare them.

    A module that cannot take every size has the attribute ``size_multiple`` (both sides of the network's input must be
    multiples of it) or ``fixed_size`` ((H, W), the only one it takes).
    """
    multiples = [getattr(module, 'size_multiple', None) for module in model.modules()]
    fixed = [getattr(module, 'fixed_size', None) for module in model.modules()]
    cfg = getattr(model, 'cfg', None)
    return Sizes(
        math.lcm(*(m for m in multiples if isinstance(m, int) and m > 0)),
        next((_pair(size) for size in fixed if size is not None), None),
        training_size(cfg) if cfg is not None else None,
    )


def training_size(cfg: Config) -> tuple[int, int] | None:
    """(H, W) of the images of the training: stated, else the last size in its pipeline, else :func:`input_size`."""
    if cfg.get('training_size'):
        return _pair(cfg.training_size)
    found = _size_in_pipeline(cfg, ('train_dataloader',))
    try:
        return found or input_size(cfg)
    except ConfigError:
        return None


def input_size(cfg: Config) -> tuple[int, int]:
    """(H, W) of the network's input: what the test pipeline pads or resizes to, else what the backbone was made for.

    Raises:
        ConfigError: The config fixes no size.
    """
    tests = ('test_dataloader', 'val_dataloader')
    size = _size_in_pipeline(cfg, tests) or (cfg.model.get('backbone') or {}).get('img_size')
    size = size or next((d['size'] for d in _datasets(cfg, tests) if d.get('size')), None)
    if size:
        return _pair(size)
    raise ConfigError(f'{cfg.filename or "the config"} fixes no input size; give one with --shape HEIGHT WIDTH')


def _datasets(cfg: Config, sections: tuple[str, ...]) -> list[Mapping]:
    """Configs of the data sets of data loaders, out of what wraps them; a mixture of several names no size."""
    found = []
    for section in sections:
        config = cfg.get(section) or {}
        while isinstance(config.get('dataset'), Mapping):
            config = config['dataset']
        found.append(config)
    return found


def _size_in_pipeline(cfg: Config, sections: tuple[str, ...]) -> tuple[int, int] | None:
    steps = [step for dataset in _datasets(cfg, sections) for step in reversed(dataset.get('pipeline') or [])]
    return next((_pair(step['size']) for step in steps if step.get('size')), None)


def _pair(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int) else (int(size[0]), int(size[1]))


def fitting_steps(sizes: Sizes, fit: str) -> list[dict]:
    """Transforms that bring an image to a size the network takes, after its pipeline has done what it does.

    Args:
        sizes: What the network takes.
        fit: ``pad`` keeps the image's shape and adds a frame, which is cut off the predictions; ``resize`` stretches it.
    """
    if sizes.fixed is not None:
        if fit == 'resize':
            return [dict(type='Resize', size=sizes.fixed)]
        shrink = dict(type='Resize', size=sizes.fixed, keep_ratio=True, shrink_only=True)
        return [shrink, dict(type='CentredPad', size=sizes.fixed)]
    if sizes.multiple == 1:
        return []
    kind = 'Resize' if fit == 'resize' else 'CentredPad'
    return [dict(type=kind, multiple=sizes.multiple)]


def tile_size(sizes: Sizes) -> tuple[int, int]:
    """(H, W) of the tiles that a large image is cut into: what the network was trained on, made to fit.

    Raises:
        ConfigError: The config says nothing of that size.
    """
    size = sizes.fixed or sizes.training
    if size is None:
        raise ConfigError("fit='tile': the config names no size of the training, by which images could be cut")
    return tuple(-(-n // sizes.multiple) * sizes.multiple for n in size)  # type: ignore[return-value]
