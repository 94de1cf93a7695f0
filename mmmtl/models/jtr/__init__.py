"""JTR (CVPR 2024): all tasks' labels and predictions in one stack, compared in the space of an autoencoder."""

from .converter import JTRConverter
from .decoder import JTR

__all__ = ['JTR', 'JTRConverter']
