"""The record that travels with an image: labels, predictions and where they came from."""

from .mtl_data_sample import MTLDataSample

__all__ = ['MTLDataSample']
