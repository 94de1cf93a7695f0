"""Packages that only some uses need: imported where they are used, with the install line where they are missing."""

from __future__ import annotations

import importlib
from typing import Any

from mmmtl.errors import ConfigError


def require(module: str, reason: str, extra: str, error: type[Exception] = ConfigError) -> Any:
    """Import a module of an optional package.

    Args:
        module: Its name; of ``a.b`` the submodule is returned.
        reason: Who needs what, as the message begins: ``'a sweep needs Optuna'``.
        extra: The extra of this package that installs it.
        error: Class of the error.

    Raises:
        Exception: ``error``: it is not installed; with the line that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as missing:
        raise error(f"{reason}: pip install 'mmmtl[{extra}]'") from missing
