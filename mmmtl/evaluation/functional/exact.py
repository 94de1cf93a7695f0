"""Sums of floating-point numbers that do not depend on the order of the summands.

Addition of floats is not associative, so a sum over images would change its last digits with the number of
ranks or the order of the samples. Every finite float64 is an integer times 2**-1074; in that form sums are
sums of integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import numpy as np

_SCALE_BITS = 1074  # the smallest positive float64 is 2**-1074


class ExactSum:
    """The exact sum of float64 numbers; the same for every order and grouping of the summands.

    Infinities and NaN follow IEEE rules (``inf - inf`` is NaN), also independently of the order.
    """

    __slots__ = ('special', 'units')

    def __init__(self, value: float = 0.0) -> None:
        self.units = 0
        self.special = 0.0
        self.add(value)

    def add(self, value: float) -> ExactSum:
        """Add one number."""
        value = float(value)
        if math.isfinite(value):
            numerator, denominator = value.as_integer_ratio()
            self.units += numerator << (_SCALE_BITS - (denominator.bit_length() - 1))
        else:
            self.special += value
        return self

    def merge(self, other: ExactSum) -> ExactSum:
        """Add another sum."""
        self.units += other.units
        self.special += other.special
        return self

    def __float__(self) -> float:
        """The sum, rounded once to the nearest float64."""
        if self.special != 0.0:  # an infinity or NaN
            return self.special
        try:
            return float(Fraction(self.units, 1 << _SCALE_BITS))
        except OverflowError:
            return math.inf if self.units > 0 else -math.inf


class StateSum:
    """The sum of per-image states: dictionaries of integer or float64 arrays.

    Integer arrays add up as int64, float arrays as :class:`ExactSum` per element, so the total is the same
    for any order of images, any grouping into batches and any number of ranks.
    """

    def __init__(self) -> None:
        self.count = 0
        self._integers: dict[str, np.ndarray] = {}
        self._floats: dict[str, tuple[tuple[int, ...], list[ExactSum]]] = {}

    def add(self, state: Mapping[str, np.ndarray]) -> StateSum:
        """Add the state of one image."""
        self.count += 1
        for key, value in state.items():
            array = np.asarray(value)
            if array.dtype.kind in 'iub':
                self._add_integers(key, array.astype(np.int64))
            elif array.dtype.kind == 'f':
                shape, sums = self._floats.setdefault(key, (array.shape, [ExactSum() for _ in range(array.size)]))
                self._check(key, shape, array.shape)
                for total, number in zip(sums, array.astype(np.float64).ravel().tolist()):
                    total.add(number)
            else:
                raise TypeError(f"state '{key}' must hold integers or floats, got dtype {array.dtype}")
        return self

    def merge(self, other: StateSum) -> StateSum:
        """Add the sum of another set of images, for example of another rank."""
        self.count += other.count
        for key, array in other._integers.items():
            self._add_integers(key, array)
        for key, (shape, sums) in other._floats.items():
            mine, totals = self._floats.setdefault(key, (shape, [ExactSum() for _ in sums]))
            self._check(key, mine, shape)
            for total, number in zip(totals, sums):
                total.merge(number)
        return self

    def total(self) -> dict[str, np.ndarray]:
        """``{name: array}``: int64 counts and float64 sums, each float rounded once."""
        floats = {
            key: np.array([float(s) for s in sums], np.float64).reshape(shape)
            for key, (shape, sums) in self._floats.items()
        }
        return {**{key: array.copy() for key, array in self._integers.items()}, **floats}

    def _add_integers(self, key: str, array: np.ndarray) -> None:
        if key in self._integers:
            self._check(key, self._integers[key].shape, array.shape)
            self._integers[key] = self._integers[key] + array
        else:
            self._integers[key] = array.copy()

    @staticmethod
    def _check(key: str, mine: tuple[int, ...], theirs: tuple[int, ...]) -> None:
        if mine != theirs:
            raise ValueError(f"state '{key}' has shape {theirs} for one image and {mine} for others")
