"""A seeded permutation that is computed entry by entry and never stored."""

from __future__ import annotations

from mmmtl.utils.seeding import stable_hash

_ROUNDS = 8
_MASK = (1 << 64) - 1


class SeededPermutation:
    """A permutation of 0 .. n - 1, fixed by its seeds; any entry costs the same small time and no memory.

    A Feistel network permutes the smallest range of 4^k numbers that holds n (Luby and Rackoff, 1988); a result beyond n is
    permuted again until it lies below ("cycle walking", Black and Rogaway, CT-RSA 2002), on average less than four times.

    Args:
        size: n > 0.
        seeds: What the permutation is drawn for.
    """

    def __init__(self, size: int, *seeds: object) -> None:
        self.size = int(size)
        self.half = max(1, ((self.size - 1).bit_length() + 1) // 2)
        self.keys = tuple(stable_hash('permutation', *seeds, number) for number in range(_ROUNDS))

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, place: int) -> int:
        """The entry at a place.

        Raises:
            IndexError: A place outside 0 .. n - 1.
        """
        if not 0 <= place < self.size:
            raise IndexError(f'place {place} of a permutation of {self.size}')
        half, mask = self.half, (1 << self.half) - 1
        value = int(place)
        while True:
            left, right = value >> half, value & mask
            for key in self.keys:
                # the finaliser of SplitMix64 (Steele et al., OOPSLA 2014) mixes the key into one half
                mixed = (right ^ key) & _MASK
                mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
                mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
                left, right = right, left ^ ((mixed ^ (mixed >> 31)) & mask)
            value = (left << half) | right
            if value < self.size:
                return value
