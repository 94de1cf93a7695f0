"""What a file of tensors claims, before memory is taken for it."""

from __future__ import annotations

import os

import torch
from torch import Tensor

from mmmtl.errors import CheckpointError


def read_shapes(path: str | os.PathLike) -> dict[str, Tensor]:
    """Names and shapes of a ``.safetensors`` file as tensors without memory; of its content the header alone is read.

    Raises:
        CheckpointError: Missing or damaged file.
    """
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework='pt') as file:
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # the reader is written in Rust and has errors of its own
        raise CheckpointError(f"checkpoint '{path}' can't be read as safetensors: {error}") from error
    return {name: torch.empty(shape, device='meta') for name, shape in shapes.items()}
