"""Networks: a model is a data preprocessor, a backbone, a neck and a decoder."""

from . import backbones, decoders, label_encoders, latent, losses, necks
from .data_preprocessor import MTLDataPreprocessor
from .latent_model import LatentMultiTaskModel
from .multitask_model import MultiTaskModel
from .two_views import TwoViews

__all__ = [
    'LatentMultiTaskModel',
    'MTLDataPreprocessor',
    'MultiTaskModel',
    'TwoViews',
    'backbones',
    'decoders',
    'label_encoders',
    'latent',
    'losses',
    'necks',
]
