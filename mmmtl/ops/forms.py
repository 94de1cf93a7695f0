"""The modules of this room that register forms for prediction."""

from . import inference_blocks, winograd, winograd_blocks  # isort: skip  # noqa: F401
from . import prepared  # isort: skip  # noqa: F401  (for the modules that none of the others fits)
