"""Methods whose work is done on a floor above: looked up by name when they are called, so that nothing imports upwards."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def late(place: str) -> Callable[..., Any]:
    """A function that stands for another one and finds it when it is called.

    Args:
        place: ``MODULE:NAME`` of the other one, which gets all arguments.
    """
    module, _, name = place.partition(':')

    def call(*args: Any, **kwargs: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **kwargs)

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f'See :func:`{module}.{name}`.'
    return call
