"""The record that travels with an image: labels, predictions and where they came from; and what explains them."""

from .explanation import Explanation
from .mtl_data_sample import MTLDataSample, plain_map, smallest_integers, with_axis, without_axis

__all__ = ['Explanation', 'MTLDataSample', 'plain_map', 'smallest_integers', 'with_axis', 'without_axis']
