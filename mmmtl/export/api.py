"""From a model to a file, tried out beside the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.models.sizes import input_size, sizes_of
from mmmtl.ops.inference import optimize_for_inference, restore

from .comparison import Difference, report
from .exported_model import ExportedModel
from .metadata import describe
from .program import Program, Size, check_model
from .writers import FORMATS, trace, write

NOISE = ('input', 'seed')
FAR = 0.01
"""Share of a map's values that may differ visibly (by 0.1 %) from the model's in single precision."""


@dataclass
class Export:
    """What was written.

    Attributes:
        files: Files; the first is the one to open.
        metadata: What the file tells of itself.
        differences: Of every task.
        text: A report for people.
    """

    files: list[str]
    metadata: dict[str, Any]
    differences: dict[str, Difference] = field(default_factory=dict)
    text: str = ''


def export_model(
    model: nn.Module,
    out: str | Path,
    kind: str = 'onnx',
    size: Size | None = None,
    batch: int | None = 1,
    half: bool = False,
    raw: bool = False,
    noise: str = 'input',
    check: bool = True,
) -> Export:
    """Write a model as a file that other programs run, and run it beside the model.

    Args:
        model: Of :func:`mmmtl.apis.init_model`; it comes back in the form for prediction.
        out: File to write.
        kind: ``torch_export``, ``onnx`` or ``openvino``.
        size: (H, W) of the images; default: the config's.
        batch: Number of images; None: any.
        half: Half precision.
        raw: Raw maps instead of predictions in the tasks' units.
        noise: ``input``: what a diffusion decoder draws is an input by name; ``seed``: it is drawn now, by the model's
            ``noise_seed``, and stands in the file.
        check: Run the file beside the model.

    Raises:
        ConfigError: What cannot be exported: says where and what to do.
    """
    path = check_arguments(model, out, kind, half, noise)
    size = chosen_size(model, size)
    model.eval()
    restore(model)
    images = getattr(model, 'batch_images', None)
    if batch is None and images is not None:
        model.batch_images = None  # parts of a batch would fix their number
    try:
        program = Program(model, size, raw, noise).eval()
        graph, largest = trace(program, batch)
        metadata = describe(program, batch, largest)
        done = Export(write(graph, program, metadata, str(path), kind, half), metadata)
    finally:
        if images is not None:
            model.batch_images = images
    if check:
        optimize_for_inference(model)
        done.differences, done.text = report(program, ExportedModel(path), batch or min(2, largest or 2))
        if not half:
            _refuse_wrong_file(path, done.differences)
    return done


def check_arguments(model: nn.Module, out: str | Path, kind: str, half: bool, noise: str) -> Path:
    """See that the arguments go together.

    Returns:
        The file to write.

    Raises:
        ConfigError: One of them is wrong.
    """
    check_model(model)
    if kind not in FORMATS:
        raise ConfigError(f"--format must be one of {list(FORMATS)}, got '{kind}'.{suggest(kind, FORMATS)}")
    if noise not in NOISE:
        raise ConfigError(f"--noise must be one of {NOISE}, got '{noise}'.{suggest(noise, NOISE)}")
    if half and kind == 'torch_export':
        raise ConfigError('--half: a file of torch.export keeps single precision; take --format onnx or openvino')
    path = Path(out)
    if path.suffix != FORMATS[kind]:
        raise ConfigError(f"--out '{out}': a file of the format {kind} ends in {FORMATS[kind]}")
    return path


def batch_of(text: str) -> int | None:
    """A number of images, or None for ``dynamic``.

    Raises:
        ConfigError: Neither.
    """
    if text == 'dynamic':
        return None
    if not text.isdigit() or int(text) < 1:
        raise ConfigError(f"--batch must be a whole number of at least 1, or 'dynamic', got '{text}'")
    return int(text)


def chosen_size(model: nn.Module, size: Size | None) -> Size:
    """The size that is exported.

    Raises:
        ConfigError: One that the network does not take, or none.
    """
    sizes = sizes_of(model)
    size = size or sizes.fixed
    if size is None:
        if getattr(model, 'cfg', None) is None:
            raise ConfigError('--size: the model has no config that fixes one; give HEIGHTxWIDTH')
        size = input_size(model.cfg)
    if sizes.fixed is not None and tuple(size) != sizes.fixed:
        raise ConfigError(
            f'--size {size[0]}x{size[1]}: this network was built for {sizes.fixed[0]}x{sizes.fixed[1]} alone; change the '
            f'size in its config (--cfg-options), and it is built for another'
        )
    if size[0] % sizes.multiple or size[1] % sizes.multiple:
        raise ConfigError(f'--size {size[0]}x{size[1]}: both sides must be multiples of {sizes.multiple}')
    return (int(size[0]), int(size[1]))


def _refuse_wrong_file(path: Path, differences: dict[str, Difference]) -> None:
    far = {name: d for name, d in differences.items() if d.share > FAR}
    if far:
        told = ', '.join(f'{name} {d.share:.1%}' for name, d in far.items())
        raise ConfigError(
            f'{path} predicts otherwise than the model: share of values that differ by more than 0.1 %: {told}. The file '
            f'is kept for inspection and not to be used; try another --format, or a newer torch'
        )
