"""A program traced into a graph, and the graph written in one of three formats."""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from mmmtl.errors import ConfigError
from mmmtl.ops.dispatch import plain_operations
from mmmtl.utils.optional import require

from .metadata import KEY, encode
from .program import Program

FORMATS = {'torch_export': '.pt2', 'onnx': '.onnx', 'openvino': '.xml'}
"""Formats, and how their files' names end."""
TRACED_BATCH = 2
"""Images of the example that a graph for any number of images is traced with."""
LARGEST_BATCH = 1024
OPSET = 20
"""Version of ONNX's operations, the same with every version of torch."""
LARGEST_MESSAGE = 2**31 - 2**24
"""Bytes that one protocol buffer holds; beyond, weights go into a file beside."""


def trace(program: Program, batch: int | None) -> tuple[ExportedProgram, int | None]:
    """The graph of a program, in plain operations.

    Args:
        program: In evaluation mode.
        batch: Number of images; None: any.

    Returns:
        The graph, and the largest number of images that it takes (None with a fixed one).

    Raises:
        ConfigError: Something within that cannot be traced, or not for any number of images.
    """
    if batch is not None:
        return _export(program, _zeros(program, batch), None), None
    args = _zeros(program, TRACED_BATCH)
    try:
        return _export(program, args, LARGEST_BATCH), LARGEST_BATCH
    except ConfigError as error:
        limit = _limit(str(error.__cause__))
        if limit is None:
            _export(program, _zeros(program, 1), None)  # what fails for one image as well says so instead
            raise
        return _export(program, args, limit), limit


def _zeros(program: Program, rows: int) -> tuple[Any, ...]:
    """Arguments of a program for so many images."""
    image = torch.zeros(rows, *program.image_shape)
    noise = {} if program.baked else {name: torch.zeros(rows, *shape) for name, shape in program.noise_shapes.items()}
    return (image, noise) if noise else (image,)


def _limit(told: str) -> int | None:
    """The largest number of images in what torch tells: ``max=9``, or ``batch < 64/7``, as its version has it."""
    if found := re.search(r'\bmax=(\d+)', told):
        return int(found.group(1))
    found = re.search(r'\bbatch < (\d+)(?:/(\d+))?', told)
    return (int(found.group(1)) - 1) // int(found.group(2) or 1) if found else None


def _export(program: Program, args: tuple, largest: int | None) -> ExportedProgram:
    free = None if largest is None else {0: Dim('batch', min=1, max=largest)}
    shapes: dict[str, Any] = {'image': free}
    if len(args) > 1:
        shapes['noise'] = dict.fromkeys(args[1], free)
    try:
        with plain_operations(), torch.no_grad(), _silence():
            return torch.export.export(program, args, dynamic_shapes=shapes if free else None, strict=False)
    except Exception as error:  # torch tells of what it cannot trace by many classes
        raise ConfigError(_reason(program, error, free is not None)) from error


def _reason(program: Program, error: Exception, free: bool) -> str:
    """Why a network could not be traced, and what to do."""
    model = program.model
    found = [getattr(model, name, None) for name in ('backbone', 'neck', 'decoder')]
    parts = [type(part).__name__ for part in found if part is not None]
    what = f'{type(model).__name__} ({", ".join(parts)})' if parts else type(model).__name__
    first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if free and re.search('dynamic|specializ|Constraints violated|Expected op', str(error)):
        return (
            f'{what}: a part of it fixes the number of images while it is traced ({first[:200]}): export it for one '
            f'number, --batch 1'
        )
    return f'{what} cannot be traced: {first[:300]}: a part of it does what torch.export has no operation for'


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Hold back the remarks of the exporters."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'torch.export', 'torch._export', 'onnxscript')]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)


def write(
    graph: ExportedProgram, program: Program, metadata: dict[str, Any], path: str, kind: str, half: bool
) -> list[str]:
    """Write a graph.

    Args:
        graph: Of :func:`trace`.
        program: What it was traced from.
        metadata: Goes into the file.
        path: File to write; weights go beside it where the format or their size wants it.
        kind: One of :data:`FORMATS`.
        half: Weights in half precision (with ONNX the computation too).

    Returns:
        Files written.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    if kind == 'torch_export':
        torch.export.save(graph, path, extra_files={f'{KEY}.json': encode(metadata)})
        return [path]
    if kind == 'onnx':
        return write_onnx(graph, program, metadata, path, half)
    openvino = needed('openvino')
    with tempfile.TemporaryDirectory() as folder:
        between = str(Path(folder, 'model.onnx'))
        write_onnx(graph, program, metadata, between, False)
        model = openvino.convert_model(between)
        model.set_rt_info(encode(metadata), [KEY])
        openvino.save_model(model, path, compress_to_fp16=half)
    return [path, str(Path(path).with_suffix('.bin'))]


def write_onnx(graph: ExportedProgram, program: Program, metadata: dict[str, Any], path: str, half: bool) -> list[str]:
    """Write a graph as ONNX; inputs and outputs have the names of images, noise and tasks."""
    onnx = needed('onnx')
    needed('onnxscript')
    names = ['image', *metadata['noise']]
    try:
        with _silence():
            converted = torch.onnx.export(
                graph,
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=names,
                output_names=program.task_names,
                custom_translation_table=_translations(),
            )
    except Exception as error:  # as in _export
        cause = error.__cause__ or error  # torch wraps it in a page of advice
        first = next((line for line in str(cause).splitlines() if line.strip()), type(cause).__name__)
        raise ConfigError(
            f'{type(program.model).__name__}: ONNX has no form for a part of it ({type(cause).__name__}: {first[:300]}): '
            f'--format torch_export'
        ) from error
    assert converted is not None
    model = converted.model_proto
    if half:
        model = _half(model)
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, encode(metadata)
    beside = f'{Path(path).name}.data'
    large = model.ByteSize() > LARGEST_MESSAGE
    onnx.save_model(model, path, save_as_external_data=large, location=beside if large else None)
    return [path, str(Path(path).with_name(beside))] if large else [path]


def _half(model: Any) -> Any:
    """An ONNX model that computes in half precision between float32 inputs and outputs."""
    needed('onnxruntime')
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with _silence():
        return convert_float_to_float16(model, keep_io_types=True)


def _translations() -> dict[Any, Any]:
    """Operations of torchvision that torch's exporter does not know."""
    from onnxscript import opset19 as op  # the first with DeformConv; a later one than OPSET cannot be written

    def deform_conv2d(
        x: Any,
        weight: Any,
        offset: Any,
        mask: Any,
        bias: Any,
        stride_h: int,
        stride_w: int,
        pad_h: int,
        pad_w: int,
        dilation_h: int,
        dilation_w: int,
        groups: int,
        offset_groups: int,
        use_mask: bool,
    ) -> Any:
        """``torchvision.ops.deform_conv2d``, whose operands have another order in ONNX."""
        return op.DeformConv(
            x,
            weight,
            offset,
            bias,
            mask if use_mask else None,
            strides=[stride_h, stride_w],
            pads=[pad_h, pad_w, pad_h, pad_w],
            dilations=[dilation_h, dilation_w],
            group=groups,
            offset_group=offset_groups,
        )

    return {torch.ops.torchvision.deform_conv2d.default: deform_conv2d}


def needed(module: str) -> Any:
    """A module of the extra ``export``; a ``ConfigError`` says how it is installed."""
    return require(module, f'this needs {module}', 'export')
