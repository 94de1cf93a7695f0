"""The modules of this room that register forms for prediction."""

from . import inference_blocks, winograd  # noqa: F401
