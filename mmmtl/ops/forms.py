"""The modules of this room that register forms for prediction."""

from . import inference_blocks, winograd, winograd_blocks  # noqa: F401
