"""Necks: bring a backbone's levels to the form a decoder wants."""

from .concat_fusion import ConcatFusion
from .level_projection import LevelProjection

__all__ = ['ConcatFusion', 'LevelProjection']
