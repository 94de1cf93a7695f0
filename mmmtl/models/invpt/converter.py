"""Published InvPT checkpoints → this package's names."""

from __future__ import annotations

from mmmtl.models.converter import Converter
from mmmtl.models.layers.inverted_pyramid_names import RULES
from mmmtl.registry import CONVERTERS


@CONVERTERS.register_module('invpt')
class InvPTConverter(Converter):
    """Reads the published InvPT checkpoints."""

    rules = RULES
