"""Published TSP-Transformer checkpoints → this package's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmmtl.models.converter import Converter
from mmmtl.models.layers.inverted_pyramid_names import RULES
from mmmtl.registry import CONVERTERS
from mmmtl.utils.renaming import rename_state


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a published state dict; see :func:`~mmmtl.utils.renaming.rename_state`."""
    found = {key.split('.')[-1] for key in state if key.endswith('Prompt_Tokens')}
    prompts: list[tuple[str, str]] = []
    for task in names:
        # a task's tensor is named by its first two letters (where its initial is another's), its initial, or its last word's
        initials = (task[:2].capitalize(), task[0].upper(), task.rpartition('_')[2][0].upper())
        tensor = next((f'{i}Prompt_Tokens' for i in initials if f'{i}Prompt_Tokens' in found), None)
        if tensor is not None:
            found.remove(tensor)
            prompts.append((rf'backbone\.{tensor}', f'backbone.prompts.{names[task]}'))
    return rename_state(state, [*prompts, *RULES], names)


@CONVERTERS.register_module('tsp')
class TSPConverter(Converter):
    """Reads the published TSP-Transformer checkpoints."""

    convert = staticmethod(convert)
