"""Seeds that depend on what is drawn for, never on when, where or in which order it is drawn."""

from __future__ import annotations

import hashlib


def stable_hash(*parts: object) -> int:
    """A 64-bit number from the text of ``parts``: the same on every machine, Python version and process."""
    text = '\x1f'.join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], 'little')


def seed_of(*parts: object) -> int:
    """A seed for torch's generators, which take 63 bits, from the text of ``parts``."""
    return stable_hash(*parts) >> 1
