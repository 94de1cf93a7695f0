"""Kernels that exist for speed: each equals a plain PyTorch expression, which is its documentation and its test."""

from .inference import optimize_for_inference

__all__ = ['optimize_for_inference']
