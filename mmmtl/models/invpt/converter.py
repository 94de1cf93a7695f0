"""Published InvPT checkpoints → this package's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmmtl.models.converter import Converter
from mmmtl.models.layers.inverted_pyramid_names import RULES
from mmmtl.registry import CONVERTERS
from mmmtl.utils.renaming import rename_state


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a published state dict; see :func:`~mmmtl.utils.renaming.rename_state`."""
    return rename_state(state, RULES, names)


@CONVERTERS.register_module('invpt')
class InvPTConverter(Converter):
    """Reads the published InvPT checkpoints."""

    convert = staticmethod(convert)
