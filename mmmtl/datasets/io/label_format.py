"""What a person says the numbers of a task's label files mean."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError, suggest
from mmmtl.tasks import Task

from .values import read_table

_FOR = dict(
    categorical=('offset', 'unknown', 'values', 'threshold', 'annotators', 'key', 'category', 'internal'),
    continuous=('scale', 'offset', 'unknown', 'key'),
)


def class_names(task: Task) -> Sequence[str]:
    """Names of a task's classes; none of a continuous one."""
    return getattr(task, 'classes', ())


@dataclass
class LabelFormat:
    """How the stored numbers of one task become its label.

    Attributes:
        scale: Factor of the stored numbers (continuous tasks).
        offset: Added to the scaled numbers, or to class ids.
        unknown: Stored numbers of unknown pixels.
        values: Table from stored numbers or colours to classes, see :func:`~mmmtl.datasets.io.values.read_table`.
        threshold: A number beyond it is class 1, others are class 0.
        key: Variable of a ``.mat`` file.
        annotators: Where a file holds several maps of classes: the number of one, ``'any'``, or ``'majority'``
            (pixels that some but not most of them marked are unknown).
        category: Class of SBD whose contours are the boundaries.
        internal: ``'unknown'`` or ``'background'``: the inside of SBD's objects.
    """

    scale: float | None = None
    offset: float = 0.0
    unknown: Sequence[float] | None = None
    values: Any = None
    threshold: float | None = None
    key: str | None = None
    annotators: int | str | None = None
    category: int | None = None
    internal: str = 'unknown'

    @classmethod
    def of(cls, where: str, task: Task, form: Mapping[str, Any]) -> LabelFormat:
        """Build from a config's entry.

        Args:
            where: The entry, for messages.
            task: Whose label it is.
            form: The entry.

        Raises:
            ConfigError: An entry that there is not, or that this kind of task does not take.
        """
        names = [f.name for f in fields(cls)]
        allowed = _FOR['categorical' if task.categorical else 'continuous']
        for key in form:
            if key not in names:
                near = suggest(key, names)
                raise ConfigError(f"{where}: unknown entry '{key}' ({', '.join(allowed)}).{near}")
            if key not in allowed:
                kind = 'class ids take offset and unknown, or values' if task.categorical else 'a continuous task'
                raise ConfigError(f'{where}: {key} is for other tasks; {kind} ({", ".join(allowed)})')
        for key in form:
            check_entry(f'{where}.{key}', key, form[key])
        made = cls(**form)
        if made.values is not None and (made.threshold is not None or made.offset):
            raise ConfigError(f'{where}: values says all; threshold and offset do not go with it')
        if made.internal not in ('unknown', 'background'):
            raise ConfigError(f"{where}.internal: expected 'unknown' or 'background', found {made.internal!r}")
        if made.annotators is not None and not isinstance(made.annotators, int):
            if made.annotators not in ('any', 'majority'):
                raise ConfigError(
                    f"{where}.annotators: expected a number, 'any' or 'majority', found {made.annotators!r}"
                )
        two = made.threshold is not None or isinstance(made.annotators, str)
        if two and len(class_names(task)) != 2:
            raise ConfigError(
                f"{where}: threshold, and annotators by vote, make two classes; task '{task.name}' has "
                f'{len(class_names(task))}'
            )
        if task.categorical and made.offset != int(made.offset):
            raise ConfigError(f'{where}.offset: class ids are whole numbers, found {made.offset}')
        if made.scale == 0:
            raise ConfigError(f'{where}.scale: expected a number other than 0, found {made.scale}')
        if made.category is not None and not 1 <= int(made.category) <= 20:
            raise ConfigError(f'{where}.category: expected a class of SBD, 1..20, found {made.category}')
        if made.values is not None:
            read_table(made.values, class_names(task), f'{where}.values')
        return made


def check_entry(place: str, key: str, value: Any) -> None:
    """Refuse what is no number where a number is meant."""
    numbers = [value] if key in ('scale', 'offset', 'threshold', 'category') and value is not None else []
    if key == 'unknown' and not isinstance(value, str):
        numbers = list(np.ravel(np.asarray([] if value is None else value, object)))
    wrong = [n for n in numbers if isinstance(n, (str, bool)) or not np.isscalar(n)]
    wrong += [n for n in numbers if key != 'unknown' and n not in wrong and not math.isfinite(n)]  # type: ignore[arg-type]
    if wrong or (key == 'unknown' and isinstance(value, str)):
        raise ConfigError(f'{place}: expected {"numbers" if key == "unknown" else "a number"}, found {value!r}')
