"""A file that ``mmmtl export`` wrote, run by the library of its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmmtl.diffusion.noise import SampleNoise
from mmmtl.errors import ConfigError, InputError, NotFoundError
from mmmtl.models.data_preprocessor import NORMALISED

from .metadata import KEY, decode
from .writers import FORMATS, needed

Arrays = Mapping[str, np.ndarray]


class ExportedModel:
    """Images and noise in, a map per task out.

    Args:
        path: ``.pt2``, ``.onnx`` or ``.xml``.
        threads: Threads of a CPU; default: as many as torch has.

    Attributes:
        metadata: What the file tells of itself.

    Raises:
        NotFoundError, FileError: No such file, or not one of ``mmmtl export``.

    Example:
        >>> model = ExportedModel('model.onnx')
        >>> model(np.zeros((1, 3, 512, 512), np.float32))['depth'].shape
        (1, 1, 512, 512)
    """

    def __init__(self, path: str | Path, threads: int | None = None) -> None:
        self.path = str(path)
        if not Path(path).is_file():
            raise NotFoundError(f'{path}: no such file')
        openers = {'.pt2': _open_torch, '.onnx': _open_onnx, '.xml': _open_openvino}
        if Path(path).suffix not in openers:
            raise ConfigError(f'{path}: exported files end in {sorted(FORMATS.values())}')
        opener = openers[Path(path).suffix]
        text, self._run = opener(self.path, threads or torch.get_num_threads())
        self.metadata: dict[str, Any] = decode(text, self.path)

    def __call__(self, image: np.ndarray, noise: Arrays | None = None) -> dict[str, np.ndarray]:
        """Predict.

        Args:
            image: (B, 3, H, W) or (B, 2, 3, H, W), RGB of 0..255, any type of number.
            noise: ``{name: (B, ...)}`` of what the file takes; default: what the model itself would draw.

        Returns:
            ``{task: (B, C, H, W)}``.

        Raises:
            InputError: Images of another shape than the file's, more than it takes, or of another range of values.
        """
        wanted = self.metadata['image']['shape']
        given = list(image.shape)
        if len(given) != len(wanted) or given[1:] != wanted[1:] or wanted[0] not in ('batch', given[0]):
            raise InputError(f'{self.path} takes images of shape {wanted}, got {given}')
        if len(image) > self.metadata['image']['largest_batch']:
            raise InputError(
                f'{self.path} takes up to {self.metadata["image"]["largest_batch"]} images, got {len(image)}'
            )
        low, high = float(image.min()), float(image.max())
        small = max(-low, high) <= NORMALISED and bool((image != np.round(image)).any())
        if self.metadata['normalization'] and (small or not -64 <= low <= high <= 320):
            raise InputError(f'{self.path} takes images of 0..255, found values from {low:.4g} to {high:.4g}')
        feed = {'image': np.ascontiguousarray(image, np.float32), **self.draw(len(image))}
        feed.update({name: np.ascontiguousarray(draw, np.float32) for name, draw in (noise or {}).items()})
        return self._run(feed, list(self.metadata['tasks']))

    def draw(self, batch: int) -> dict[str, np.ndarray]:
        """The noise that the model draws for images that have no name."""
        source, like = SampleNoise(self.metadata['noise_seed'], None), torch.empty(0)
        shapes = self.metadata['noise'].items()
        return {name: source.normal(name, (batch, *shape), like).numpy() for name, shape in shapes}


Runner = Callable[[Arrays, 'list[str]'], 'dict[str, np.ndarray]']


def _open_torch(path: str, threads: int) -> tuple[str | None, Runner]:
    extra = {f'{KEY}.json': ''}
    network = torch.export.load(path, extra_files=extra).module()

    def run(feed: Arrays, tasks: list[str]) -> dict[str, np.ndarray]:
        tensors = {name: torch.from_numpy(np.asarray(value)) for name, value in feed.items()}
        image = tensors.pop('image')
        with torch.no_grad():
            found = network(image, tensors) if tensors else network(image)
        return {name: found[name].numpy() for name in tasks}

    text = extra[f'{KEY}.json']
    return (text.decode() if isinstance(text, bytes) else text), run


def _open_onnx(path: str, threads: int) -> tuple[str | None, Runner]:
    onnxruntime = needed('onnxruntime')
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(path, options, providers=onnxruntime.get_available_providers())
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    return text, lambda feed, tasks: dict(zip(tasks, session.run(tasks, dict(feed))))


def _open_openvino(path: str, threads: int) -> tuple[str | None, Runner]:
    openvino = needed('openvino')
    core = openvino.Core()
    model = core.read_model(path)
    text = model.get_rt_info([KEY]).astype(str) if model.has_rt_info([KEY]) else None
    # a CPU that has bfloat16 or float16 would compute in it unasked
    exact = {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': threads}
    compiled = core.compile_model(model, 'CPU', exact)

    def run(feed: Arrays, tasks: list[str]) -> dict[str, np.ndarray]:
        found = compiled(dict(feed))
        return {name: np.array(found[name]) for name in tasks}

    return text, run
