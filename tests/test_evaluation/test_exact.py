"""Sums that do not depend on the order of their summands."""

from __future__ import annotations

import functools
import math
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmmtl.evaluation.functional.exact import ExactSum, StateSum


def exact_sum(numbers):
    return float(functools.reduce(ExactSum.add, numbers, ExactSum()))


finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


@settings(max_examples=200, deadline=None)
@given(st.lists(finite, max_size=20), st.randoms())
def test_the_sum_is_the_rational_sum_rounded_once(numbers, random):
    exact = sum((Fraction(n) for n in numbers), Fraction(0))
    try:
        wanted = float(exact)
    except OverflowError:
        wanted = math.inf if exact > 0 else -math.inf
    assert exact_sum(numbers) == wanted
    shuffled = numbers[:]
    random.shuffle(shuffled)
    cut = random.randrange(len(numbers) + 1)
    halves = [ExactSum(), ExactSum()]
    for i, number in enumerate(shuffled):
        halves[i >= cut].add(number)
    assert float(halves[1].merge(halves[0])) == wanted


def test_order_matters_to_plain_sums_but_not_here():
    numbers = [1e16, 1.0, -1e16, 1e-300, 3.0]
    assert sum(numbers) != sum(reversed(numbers))
    assert exact_sum(numbers) == exact_sum(reversed(numbers)) == 4.0


@pytest.mark.parametrize(
    'numbers, wanted',
    [
        ([1.0, math.inf], math.inf),
        ([-math.inf, 2.0], -math.inf),
        ([math.inf, -math.inf], math.nan),
        ([math.nan], math.nan),
    ],
)
def test_infinities_and_nan_stay_visible(numbers, wanted):
    for order in (numbers, numbers[::-1]):
        np.testing.assert_equal(exact_sum(order), wanted)


def test_sums_compare_and_travel():
    total = ExactSum(0.1).add(0.2)
    assert pickle.loads(pickle.dumps(total)).units == total.units == ExactSum(0.2).add(0.1).units
    assert total.units != ExactSum(0.3).units  # the exact sum of the two floats is another number than the float 0.3


def random_states(rng, count):
    return [
        dict(n=rng.integers(0, 9, 4), x=rng.standard_normal((2, 3)) * 10.0 ** rng.integers(-20, 20), c=np.int64(1))
        for _ in range(count)
    ]


def test_states_add_up_the_same_in_any_grouping():
    rng = np.random.default_rng(0)
    states = random_states(rng, 31)
    whole = StateSum()
    for state in states:
        whole.add(state)
    parts = [StateSum() for _ in range(3)]
    for i in rng.permutation(31):
        parts[rng.integers(3)].add(states[i])
    merged = StateSum().merge(parts[2]).merge(parts[0]).merge(parts[1])
    assert merged.count == whole.count == 31
    for key, value in whole.total().items():
        np.testing.assert_array_equal(merged.total()[key], value)
        np.testing.assert_allclose(value, np.sum([s[key] for s in states], axis=0), rtol=1e-12)
    assert whole.total()['c'] == 31


def test_wrong_states_are_refused():
    total = StateSum().add(dict(n=np.zeros(3, np.int64)))
    with pytest.raises(ValueError, match=r"'n' has shape \(4,\) for one image and \(3,\)"):
        total.add(dict(n=np.zeros(4, np.int64)))
    with pytest.raises(TypeError, match="'s' must hold integers or floats"):
        total.add(dict(s=np.array(['a'])))
