"""TSP-Transformer (WACV 2024): prompts that make a ViT see an image as each task needs it."""

from .backbone import TaskPromptViT
from .converter import TSPConverter
from .decoder import TSPDecoder

__all__ = ['TSPConverter', 'TSPDecoder', 'TaskPromptViT']
