"""Losses that pull in different directions: weights for them, or one update direction out of their gradients."""

from .base import Balancer
from .gradnorm import GradNorm
from .optim_wrapper import BalancingOptimWrapper
from .torchjd_adapter import TorchJD
from .weightings import DWA, GLS, RLW, FixedWeights, Uncertainty

__all__ = [
    'DWA',
    'GLS',
    'RLW',
    'Balancer',
    'BalancingOptimWrapper',
    'FixedWeights',
    'GradNorm',
    'TorchJD',
    'Uncertainty',
]
