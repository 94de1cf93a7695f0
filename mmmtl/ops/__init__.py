"""Kernels that exist for speed: each equals a plain PyTorch expression, which is its documentation and its test."""
