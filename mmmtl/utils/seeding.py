"""Seeds that depend on what is drawn for, never on when, where or in which order it is drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np

_SEPARATOR = '\x1f'


def stable_hash(*parts: object) -> int:
    """A 64-bit number from the text of ``parts``: the same on every machine, Python version and process."""
    text = _SEPARATOR.join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], 'little')


def stable_hashes(before: Iterable[object], ids: Iterable[bytes], after: Iterable[object] = ()) -> np.ndarray:
    """``stable_hash(*before, id, *after)`` of many ids.

    Args:
        before: Parts before the id, at least one.
        ids: The ids in UTF-8.
        after: Parts after it.

    Returns:
        uint64 (n,).
    """
    start = ''.join(f'{part}{_SEPARATOR}' for part in before).encode()
    end = ''.join(f'{_SEPARATOR}{part}' for part in after).encode()
    sha256 = hashlib.sha256
    if end:
        digests = b''.join([sha256(start + i + end).digest()[:8] for i in ids])
    else:
        digests = b''.join([sha256(start + i).digest()[:8] for i in ids])
    return np.frombuffer(digests, '<u8').astype(np.uint64, copy=False)


def seed_of(*parts: object) -> int:
    """A seed for torch's generators, which take 63 bits, from the text of ``parts``."""
    return stable_hash(*parts) >> 1
