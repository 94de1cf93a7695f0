"""What a visitor of the web page may ask for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import nn

from mmmtl.errors import InputError


@dataclass(frozen=True)
class Limits:
    """Limits of one request.

    Attributes:
        megabytes: Of an uploaded file.
        megapixels: Of an uploaded picture.
        seconds: Of computing; what takes longer is broken off.
        steps, ensemble, max_side: Largest values of these options.
        waiting: Requests that may wait for their turn; others are turned away.
        kept_seconds: After which uploads and results are deleted.
    """

    megabytes: float = 20
    megapixels: float = 40
    seconds: float = 120
    steps: int = 50
    ensemble: int = 16
    max_side: int = 1024
    waiting: int = 16
    kept_seconds: int = 900

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise InputError(f'the limit {name} of the page must be above 0, got {value}')

    def check(self, **values: int | None) -> None:
        """Refuse values beyond the limits of the same names.

        Raises:
            InputError: Names the option, its value and the limit.
        """
        for name, value in values.items():
            most = getattr(self, name)
            if value is not None and value > most:
                raise InputError(f'{name}={value}: this page allows at most {most}')


@contextmanager
def deadline(model: nn.Module, seconds: float) -> Iterator[None]:
    """Within it, the model stops at its next layer once the time is over.

    Raises:
        InputError: When that happens.
    """
    end = time.monotonic() + seconds

    def look(*_: Any) -> None:
        if time.monotonic() > end:
            raise InputError(
                f'the prediction took longer than {seconds:g} s and was broken off: choose a smaller picture, fewer steps or a '
                f'smaller ensemble'
            )

    hooks = [module.register_forward_pre_hook(look) for module in model.modules()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
