"""Networks: a model is a data preprocessor, a backbone, a neck and a decoder."""

from . import backbones, decoders, label_encoders, losses, necks
from .data_preprocessor import MTLDataPreprocessor
from .multitask_model import MultiTaskModel

__all__ = ['MTLDataPreprocessor', 'MultiTaskModel', 'backbones', 'decoders', 'label_encoders', 'losses', 'necks']
