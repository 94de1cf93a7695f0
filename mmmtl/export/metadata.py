"""What a file tells of itself: everything that running it takes without this package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmmtl.errors import FileError
from mmmtl.models.sizes import sizes_of
from mmmtl.tasks import CategoricalTask, Task
from mmmtl.tasks.binary import BinaryTask
from mmmtl.version import __version__

from .program import Program

KEY = 'mmmtl'
"""Name of the metadata in an ONNX or OpenVINO file; in a file of ``torch.export``, ``mmmtl.json``."""


def describe(program: Program, batch: int | None, largest: int | None = None) -> dict[str, Any]:
    """The metadata of a program, which JSON can hold.

    Args:
        program: What is exported.
        batch: The fixed number of images; None where it is free.
        largest: The largest number of images, where there is a limit.
    """
    model, pre = program.model, program.model.data_preprocessor
    sizes = sizes_of(model)
    inside = dict(mean=pre.mean.flatten().tolist(), std=pre.std.flatten().tolist()) if pre.normalizes else None
    name = getattr(getattr(model, 'cfg', None), 'filename', None)
    return dict(
        made_by=f'mmmtl {__version__}',
        config=Path(name).stem if name else type(model).__name__,
        image=dict(
            name='image',
            shape=['batch' if batch is None else batch, *program.image_shape],
            largest_batch=largest if batch is None else batch,
            values='RGB of 0..255' if inside else "normalised, as the config's pipeline does it",
        ),
        normalization=inside,
        size_rule=dict(multiple=sizes.multiple, fixed=sizes.fixed, training=sizes.training, exported=program.size),
        noise={name: list(shape) for name, shape in program.noise_shapes.items()} if not program.baked else {},
        noise_seed=model.noise_seed,
        output='raw maps' if program.raw else 'predictions',
        tasks={name: _task(task, program.raw) for name, task in model.tasks.items()},
    )


def _task(task: Task, raw: bool) -> dict[str, Any]:
    """What a task's map holds."""
    told: dict[str, Any] = dict(type=type(task).__name__, categorical=task.categorical, frames=task.frames)
    if isinstance(task, CategoricalTask):
        told.update(classes=list(task.classes), palette=[list(colour) for colour in task.palette])
    told['unit'] = 'network output' if raw else getattr(task, 'unit', '') or ('class' if task.categorical else '')
    if not raw and isinstance(task, BinaryTask):
        told['unit'] = f"probability of '{task.classes[1]}'"
    return told


def encode(metadata: dict[str, Any]) -> str:
    """As text."""
    return json.dumps(metadata, indent=1)


def decode(text: str | None, path: str) -> dict[str, Any]:
    """From text.

    Raises:
        FileError: A file that ``mmmtl export`` did not write.
    """
    try:
        found = json.loads(text or '')
    except json.JSONDecodeError as error:
        raise FileError(f'{path}: holds no metadata of mmmtl: it was not written by mmmtl export') from error
    if not isinstance(found, dict) or 'tasks' not in found:
        raise FileError(f'{path}: its metadata names no tasks: it was not written by mmmtl export')
    return found
