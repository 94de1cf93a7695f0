"""Rows taken several times: values, memory layout, and gradients that do not depend on how threads arrive."""

from __future__ import annotations

import pytest
import torch

from mmmtl.ops.take_rows import take_rows

SHAPES = {
    'contiguous': torch.empty(5, 6, 7),
    'transposed': torch.empty(5, 7, 6).transpose(1, 2),
    'channels last': torch.empty(5, 4, 6, 7).contiguous(memory_format=torch.channels_last),
    'one number a row': torch.empty(5),
}


@pytest.mark.parametrize('kind', SHAPES)
def test_as_indexing(kind):
    x = torch.empty_like(SHAPES[kind], dtype=torch.float64).normal_(generator=torch.Generator().manual_seed(0))
    x.requires_grad_()
    index = torch.tensor([3, 0, 3, 4, 3])
    taken, plain = take_rows(x, index), x[index]
    assert torch.equal(taken, plain) and taken.stride() == plain.stride()
    weight = torch.rand(plain.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    (of_taken,) = torch.autograd.grad((taken * weight).sum(), x)
    (of_plain,) = torch.autograd.grad((plain * weight).sum(), x)
    torch.testing.assert_close(of_taken, of_plain, rtol=1e-13, atol=0)


def test_the_same_gradient_every_time():
    draw = torch.Generator().manual_seed(0)
    x, index = torch.zeros(4, 64, 256, requires_grad=True), torch.randint(4, (48,), generator=draw)
    weight = torch.randn(48, 64, 256, generator=draw)
    threads = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        first, *others = (torch.autograd.grad((take_rows(x, index) * weight).sum(), x)[0] for _ in range(20))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(first, other) for other in others)
