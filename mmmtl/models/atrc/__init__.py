"""ATRC (ICCV 2021): every pair of tasks exchanges one kind of context, found by search."""

from .decoder import ATRCDecoder
from .regions import ClassRegions, DirectionRegions, IntervalRegions

__all__ = ['ATRCDecoder', 'ClassRegions', 'DirectionRegions', 'IntervalRegions']
