"""Networks: a model is a data preprocessor, a backbone, a neck and a decoder."""

from . import (
    atrc,
    backbones,
    baselines,
    demt,
    diffusionmtl,
    invpt,
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
from .data_preprocessor import MTLDataPreprocessor
from .multitask_model import MultiTaskModel
from .stablemtl import LatentMultiTaskModel
from .two_views import TwoViews

__all__ = [
    'LatentMultiTaskModel',
    'MTLDataPreprocessor',
    'MultiTaskModel',
    'TwoViews',
    'atrc',
    'backbones',
    'baselines',
    'demt',
    'diffusionmtl',
    'invpt',
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
