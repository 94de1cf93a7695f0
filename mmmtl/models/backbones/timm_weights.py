"""Pretrained weights of timm models: from timm's hub, or from local files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import CheckpointError, ConfigError, FileError, NotFoundError
from mmmtl.utils.tensor_files import read_state


def resample_position_embedding(
    embedding: Tensor, old: Sequence[int], new: Sequence[int], antialias: bool = False
) -> Tensor:
    """Position embedding (1, h·w, C) of an ``old`` = (h, w) grid on a ``new`` one, bicubic.

    Without ``antialias`` (timm's modern resampler antialiases) the result is the one the published multi-task ViTs were
    trained from.
    """
    if tuple(old) == tuple(new):
        return embedding
    grid = embedding.reshape(1, *old, -1).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, tuple(new), mode='bicubic', align_corners=False, antialias=antialias)
    return grid.flatten(2).transpose(1, 2).to(embedding.dtype)


def grid_of_positions(
    count: int, own: Sequence[int], usual: Sequence[int], stated: Sequence[int] | None
) -> tuple[int, int]:
    """(h, w) of a grid of ``count`` stored positions: the stated one, else a square, the model's usual or its own grid.

    Args:
        count: Number of positions without those of class and register tokens.
        own: Grid of the network that takes the weights.
        usual: Grid at the model's usual input size.
        stated: What the config says, if anything.

    Raises:
        ConfigError: Several grids have that many positions, or none.
    """
    side = int(count**0.5)
    found = {(g[0], g[1]) for g in (own, usual, (side, side)) if g[0] * g[1] == count}
    if stated is not None:
        found = {(stated[0], stated[1])} if stated[0] * stated[1] == count else set()
    if len(found) == 1:
        return found.pop()
    known = f'could be those of {sorted(found)}' if found else f'fit no known grid ({tuple(own)}, {tuple(usual)})'
    raise ConfigError(
        f'model.backbone.checkpoint: its {count} positions {known}: give model.backbone.checkpoint_grid=(rows, columns)'
    )


def fitted(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """A state dict of the same timm model in another form or size, brought to the form and size of ``model``."""
    own = model.state_dict()
    if all(k in state and state[k].shape == v.shape for k, v in own.items()):
        return state
    adapt = getattr(sys.modules[type(model).__module__], 'checkpoint_filter_fn', None)
    return state if adapt is None else adapt(state, model)


def by_order(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """torchvision's MobileNetV2 under timm's names: both list the same parameters in the order of the layers."""
    pairs = list(zip(own, state.items()))
    fits = all(new.rpartition('.')[2] == old.rpartition('.')[2] for new, (old, _) in pairs)
    return {new: value for new, (_, value) in pairs} if fits else state


def pretrained_state(model_name: str, checkpoint: str | None, plain_vit: bool) -> dict[str, Tensor]:
    """State dict of timm's hub weights or of a local file."""
    import timm

    if checkpoint is None:
        try:
            return timm.create_model(model_name, pretrained=True, num_classes=0).state_dict()
        except Exception as error:  # the hub client raises many kinds
            raise FileError(
                f"timm's weights of '{model_name}' could not be fetched ({type(error).__name__}). Give "
                f'a local file, model.backbone.checkpoint=PATH, or start from scratch, '
                f'model.backbone.pretrained=False'
            ) from error
    path = Path(checkpoint)
    if not path.is_file():
        raise NotFoundError(f"model.backbone.checkpoint: '{path}' does not exist")
    if path.suffix == '.npz':
        if not plain_vit:
            raise CheckpointError(f"'{path}': .npz weights are those of a ViT, {model_name} is none")
        model = timm.create_model(model_name, num_classes=0)
        model.load_pretrained(str(path))
        return model.state_dict()
    return read_state(path)
