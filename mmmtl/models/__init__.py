"""Networks: a model is a data preprocessor, a backbone, a neck and a decoder."""

from . import (
    atrc,
    backbones,
    baselines,
    demt,
    diffusionmtl,
    invpt,
    jtr,
    losses,
    mlore,
    mqtransformer,
    mtinet,
    necks,
    stablemtl,
    taskdiffusion,
    taskexpert,
    taskprompter,
    tsp,
    xtc,
)
from .cropped_views import CroppedViews
from .data_preprocessor import MTLDataPreprocessor
from .multitask_model import MultiTaskModel
from .stablemtl import LatentMultiTaskModel

__all__ = [
    'CroppedViews',
    'LatentMultiTaskModel',
    'MTLDataPreprocessor',
    'MultiTaskModel',
    'atrc',
    'backbones',
    'baselines',
    'demt',
    'diffusionmtl',
    'invpt',
    'jtr',
    'losses',
    'mlore',
    'mqtransformer',
    'mtinet',
    'necks',
    'stablemtl',
    'taskdiffusion',
    'taskexpert',
    'taskprompter',
    'tsp',
    'xtc',
]
