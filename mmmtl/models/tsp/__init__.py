"""TSP-Transformer (WACV 2024): prompts that make a ViT see an image as each task needs it."""

from .backbone import TaskPromptViT
from .decoder import TSPDecoder

__all__ = ['TSPDecoder', 'TaskPromptViT']
