"""Permutations that are computed: every entry once, different for every seed, like random ones."""

from __future__ import annotations

import numpy as np
import pytest

from mmmtl.utils.permutation import SeededPermutation
from mmmtl.utils.seeding import stable_hash, stable_hashes


@pytest.mark.parametrize('size', [1, 2, 3, 4, 5, 16, 17, 63, 64, 65, 1000])
def test_every_entry_once(size):
    order = SeededPermutation(size, 7)
    assert sorted(order[k] for k in range(size)) == list(range(size)) and len(order) == size
    with pytest.raises(IndexError):
        order[size]


def test_it_looks_random():
    size = 10_000
    orders = np.array([[SeededPermutation(size, 3, p)[k] for k in range(2000)] for p in range(4)])
    assert len({tuple(o) for o in orders.tolist()}) == 4 and orders.max() > 9_900
    for order in orders:
        assert abs(order.mean() - size / 2) < 5 * size / np.sqrt(12 * 2000)  # five standard deviations
        assert abs(np.corrcoef(order[1:], order[:-1])[0, 1]) < 5 / np.sqrt(2000)
        assert (np.diff(order) == 1).mean() < 0.01
    assert SeededPermutation(10**7, 0)[123] == SeededPermutation(10**7, 0)[123] != SeededPermutation(10**7, 1)[123]


def test_hashes_of_many_are_those_of_each():
    ids = ['a', 'é', 'x y/z']
    data = [i.encode() for i in ids]
    assert stable_hashes(('one', 3), data).tolist() == [stable_hash('one', 3, i) for i in ids]
    assert stable_hashes(('r', 3), data, ('t', 1)).tolist() == [stable_hash('r', 3, i, 't', 1) for i in ids]
