"""XTC (CVPR 2022): cross-task consistency for partially labelled tasks."""

from .decoder import XTC

__all__ = ['XTC']
