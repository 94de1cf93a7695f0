"""Published TSP-Transformer checkpoints → this package's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmmtl.models.layers.inverted_pyramid_names import RULES
from mmmtl.utils.renaming import rename_state

PROMPTS = {'S': 'semseg', 'D': 'depth', 'N': 'normals', 'E': 'edge', 'P': 'human_parts', 'Sa': 'sal'}
"""Published initials of the prompt tensors by published task name."""


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a published state dict; see :func:`~mmmtl.utils.renaming.rename_state`."""
    prompts = [
        (rf'backbone\.{initial}Prompt_Tokens', f'backbone.prompts.{names[task]}')
        for initial, task in PROMPTS.items()
        if task in names
    ]
    return rename_state(state, [*prompts, *RULES], names)
