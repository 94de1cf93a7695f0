"""Rows taken out of a batch, some of them several times."""

from __future__ import annotations

from torch import Tensor


def take_rows(x: Tensor, index: Tensor) -> Tensor:
    """``x[index]`` along the first dimension, with a gradient that is the same every time.

    Where a row is taken more than once, the threads of a CPU would add up its gradients in the order of their arrival.

    Args:
        x: (N, ...).
        index: (n,) of whole numbers, repeats allowed.

    Returns:
        (n, ...), rows as they lie in ``x``'s memory.
    """
    order = sorted(range(1, x.dim()), key=x.stride, reverse=True)
    back = [1 + order.index(d) for d in range(1, x.dim())]
    return x.permute(0, *order).index_select(0, index).permute(0, *back)


def repeat_rows(x: Tensor, times: int) -> Tensor:
    """Every row of ``x`` (N, ...) ``times`` in succession → (N·``times``, ...).

    As ``repeat_interleave``, whose form in ONNX fails where ``times`` is the number of images of a graph for any number.
    """
    return x[:, None].expand(len(x), times, *x.shape[1:]).flatten(0, 1)
