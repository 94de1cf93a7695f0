"""The errors that a person's mistake ends in: one root, and one kind for each thing that can be wrong."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What a person can put right; the message names the place, the value and the remedy.

    Commands print the message of this class alone, without traceback, and end with exit status 1.
    """


class ConfigError(UserError, ValueError):
    """A mistake in a configuration or in an argument of a component."""


class FileError(UserError, ValueError):
    """A file that is not what its reader expects: the message names file, expected and found."""


class StorageError(UserError, OSError):
    """A file that cannot be written, on a full disk for example."""


class NotFoundError(FileError, FileNotFoundError):
    """A file or folder that is not there."""


class LabelError(UserError, ValueError):
    """A label map that is not what its task declares."""


class CheckpointError(UserError, ValueError):
    """A checkpoint that cannot be read, or that belongs to another network."""


class UnreadableError(FileError):
    """A file that could not be fetched however often it was tried; the message names its address."""


class InputError(UserError, ValueError):
    """An image given for prediction that cannot be used."""


def suggest(name: str, candidates: Iterable[str]) -> str:
    """Return ``" Did you mean 'x' or 'y'?"`` for the nearest ``candidates`` of ``name``, or ``""``."""
    candidates = sorted(set(candidates))
    near = difflib.get_close_matches(str(name), candidates, n=3, cutoff=0.6)
    if not near:
        lowered = {c.lower(): c for c in candidates}
        near = [lowered[n] for n in difflib.get_close_matches(str(name).lower(), list(lowered), n=3, cutoff=0.6)]
    return f' Did you mean {" or ".join(repr(n) for n in near)}?' if near else ''
