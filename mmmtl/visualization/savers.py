"""Further files that predictions are saved as: point clouds, 16-bit pictures, coloured pictures."""

from __future__ import annotations

import os.path as osp
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError, suggest
from mmmtl.tasks import Task
from mmmtl.utils.files import safe_name, write_json, write_png

from .point_cloud import intrinsics_of, unproject, write_ply

Saver = Callable[[str, str, np.ndarray, Mapping[str, Task], Mapping[str, np.ndarray]], 'list[str]']
"""(folder, sample id, photograph, tasks, predictions) → paths of the files that were written."""


def save_point_clouds(
    folder: str,
    sample_id: str,
    image: np.ndarray,
    tasks: Mapping[str, Task],
    pred: Mapping[str, np.ndarray],
    intrinsics: Sequence[float] | None = None,
    fov: float | None = None,
) -> list[str]:
    """``folder/points/TASK/NAME.ply`` of every task that tells distances along the optical axis, coloured by the photograph.

    Where a task gives unit vectors (surface normals), they are the points' normals.
    """
    camera = intrinsics_of(image.shape[:2], intrinsics, fov)  # type: ignore[arg-type]
    normals = next((pred[n] for n in pred if getattr(tasks[n], 'unit_length', False)), None)
    note = 'x right, y up, z to the viewer; fx {:.6g} fy {:.6g} cx {:.6g} cy {:.6g}'.format(*camera)
    return [
        write_ply(
            osp.join(folder, 'points', safe_name(name), safe_name(sample_id) + '.ply'),
            unproject(pred[name], camera),
            image,
            normals,
            note,
        )
        for name in pred
        if getattr(tasks[name], 'along_axis', False)
    ]


def save_16_bit(
    folder: str, sample_id: str, image: np.ndarray, tasks: Mapping[str, Task], pred: Mapping[str, np.ndarray]
) -> list[str]:
    """``folder/png16/TASK/NAME.png``, 16 bits a channel, and ``NAME.json`` that says how to read it.

    Values are ``offset + scale · code`` with codes from 1; 0 is unknown. Two channels become red and green of three. Class
    maps are codes as they are.
    """
    paths = []
    for name in pred:
        values = np.asarray(pred[name])
        stem = osp.join(folder, 'png16', safe_name(name), safe_name(sample_id))
        if np.issubdtype(values.dtype, np.integer):
            paths.append(write_png(stem + '.png', values.reshape(values.shape[-2:]).astype(np.uint16)))
            continue
        values = values.astype(np.float64)
        known = np.isfinite(values)
        low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 1.0)
        scale = (high - low) / 65534 or 1.0
        codes = np.where(known, 1 + np.rint((np.where(known, values, low) - low) / scale), 0).astype(np.uint16)
        if len(codes) > 3:
            raise ConfigError(
                f"save png16: task '{name}' has {len(codes)} channels, a picture has three: leave png16 out"
            )
        codes = (
            np.concatenate([codes, np.zeros((3 - len(codes), *codes.shape[1:]), np.uint16)])
            if len(codes) == 2
            else codes
        )
        paths.append(write_png(stem + '.png', codes[0] if len(codes) == 1 else np.moveaxis(codes, 0, -1)))
        unit = getattr(tasks[name], 'unit', '')
        paths.append(write_json(stem + '.json', dict(scale=scale, offset=low - scale, unknown=0, unit=unit)))
    return paths


def save_pictures(
    folder: str, sample_id: str, image: np.ndarray, tasks: Mapping[str, Task], pred: Mapping[str, np.ndarray]
) -> list[str]:
    """``folder/pictures/TASK/NAME.png``: every prediction in its colours."""
    return [
        write_png(osp.join(folder, 'pictures', safe_name(n), safe_name(sample_id) + '.png'), tasks[n].colorize(pred[n]))
        for n in pred
    ]


SAVERS: dict[str, Saver] = {'ply': save_point_clouds, 'png16': save_16_bit, 'png': save_pictures}


def build_savers(
    names: Sequence[str],
    tasks: Mapping[str, Task],
    wanted: Sequence[str] | None = None,
    intrinsics: Sequence[float] | None = None,
    fov: float | None = None,
) -> list[Any]:
    """The savers of these names.

    Args:
        names: Of :data:`SAVERS`.
        tasks: All tasks of the network.
        wanted: Those that are predicted; None: all.
        intrinsics, fov: See :func:`~mmmtl.visualization.point_cloud.intrinsics_of`.

    Raises:
        ConfigError: An unknown name, a camera that there is not, a point cloud of tasks that tell no distances.
    """
    if isinstance(names, str):
        raise ConfigError(f'save must be a list of names, got {names!r}')
    for name in names:
        if name not in SAVERS:
            raise ConfigError(f"save: '{name}' is none of {', '.join(SAVERS)}.{suggest(name, SAVERS)}")
    if 'ply' not in names:
        if intrinsics is not None or fov is not None:
            raise ConfigError("intrinsics and fov are for point clouds: say save=['ply'] (--save ply)")
        return [SAVERS[name] for name in names]
    intrinsics_of((1, 1), intrinsics, fov)
    if not any(getattr(tasks[name], 'along_axis', False) for name in wanted or tasks):
        given = ', '.join(wanted or tasks)
        raise ConfigError(f"save 'ply': no task tells distances along the optical axis (predicted: {given})")
    camera = partial(save_point_clouds, intrinsics=intrinsics, fov=fov)
    return [camera if name == 'ply' else SAVERS[name] for name in names]
