"""Eight-bit files by onnxruntime's own quantiser, and the accuracy that each task loses by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mmmtl.errors import ConfigError
from mmmtl.evaluation.metrics.references import greater_is_better_of, primary_keys
from mmmtl.models.base import BaseMultiTaskModel
from mmmtl.registry import DATASETS, METRICS
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import Task
from mmmtl.utils.files import write_atomically
from mmmtl.utils.tables import format_table, markdown_table

from .api import Export
from .comparison import seconds
from .exported_model import ExportedModel
from .metadata import KEY, encode
from .writers import needed

QUANTISED = ('Conv', 'MatMul', 'Gemm')
"""Operations whose operands become eight bits; what the tasks make of raw maps stays as it is."""


def quantize_and_compare(
    model: BaseMultiTaskModel, done: Export, cfg: Config, images: int, table: str | None = None
) -> str:
    """Write ``FILE.int8.onnx`` and measure both files.

    Args:
        model: The exported model.
        done: What :func:`~mmmtl.export.export_model` returned.
        cfg: Its ``train_dataloader.dataset`` calibrates, its ``test_dataloader.dataset`` and ``test_evaluator`` measure.
        images: Of either, at most.
        table: Markdown file to write.

    Returns:
        A table of every task's metric, of the files' sizes and their speed.

    Raises:
        ConfigError: A file that is not ONNX, of a fixed number of images, or of another size than those of the config; or a
            config without these sections.
    """
    path = done.files[0]
    if not path.endswith('.onnx') or done.metadata['image']['shape'][0] not in ('batch', 1):
        raise ConfigError('--int8 goes with --format onnx and --batch 1 or dynamic')
    for section in ('train_dataloader', 'test_dataloader', 'test_evaluator'):
        if not cfg.get(section):
            raise ConfigError(f'--int8 {cfg.filename}: the config has no {section}, whose images are needed')
    small = str(Path(path).with_suffix('.int8.onnx'))
    try:
        quantize(model, path, small, DATASETS.build(cfg.train_dataloader.dataset), images, done.metadata)
    except Exception as error:  # onnxruntime's own kinds
        if 'invalid dimensions' not in str(error):
            raise
        raise ConfigError(
            f'--int8 {cfg.filename}: its training images have another size than the file, {done.metadata["image"]["shape"]}: '
            f'export with --size as theirs'
        ) from error
    files = {'float32': ExportedModel(path), 'int8': ExportedModel(small)}
    found = {name: measure(model, file, cfg, images) for name, file in files.items()}
    text, rows, footer = _table(model, found, files)
    if table is not None:
        header = ['metric', *files, 'change']
        Path(table).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(table, f'{markdown_table(header, rows, right=(1, 2, 3))}\n\n{footer}\n')
    return f'written: {small}\n{text}'


def quantize(
    model: BaseMultiTaskModel, path: str, out: str, dataset: Any, images: int, metadata: dict[str, Any]
) -> None:
    """Write the eight-bit form of an ONNX file, its ranges taken from ``images`` images of ``dataset``."""
    onnx = needed('onnx')
    needed('onnxruntime')
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        """Feeds images and their noise."""

        def __init__(self) -> None:
            self.feeds = (feed for feed, _ in feeds(model, dataset, images, metadata))

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self.feeds, None)

    quantize_static(
        path,
        out,
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=list(QUANTISED),
    )
    quantised = onnx.load(out)
    del quantised.metadata_props[:]
    entry = quantised.metadata_props.add()
    entry.key, entry.value = KEY, encode({**metadata, 'precision': 'int8'})
    onnx.save_model(quantised, out)


def feeds(
    model: BaseMultiTaskModel, dataset: Any, images: int, metadata: dict[str, Any]
) -> Iterator[tuple[dict[str, np.ndarray], MTLDataSample]]:
    """What a file is fed with for the first images of a data set, as the preprocessor pads them, each with its data sample."""
    for i in range(min(images, len(dataset))):
        batch = model.data_preprocessor(pseudo_collate([dataset[i]]), False)
        image, sample = model.data_preprocessor.levels(batch['inputs']).numpy(), batch['data_samples'][0]
        noise = model._sample_noise(torch.empty(1), [sample])
        like = torch.empty(0)
        draws = {n: noise.normal(n, (1, *shape), like).numpy() for n, shape in metadata['noise'].items()}
        yield {'image': image, **draws}, sample


def measure(model: BaseMultiTaskModel, file: ExportedModel, cfg: Config, images: int) -> dict[str, float]:
    """Metrics of a file on the first images of a config's test set."""
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    metric: Any = METRICS.build(cfg.test_evaluator)
    metric.dataset_meta = dataset.metainfo
    count = 0
    for feed, sample in feeds(model, dataset, images, file.metadata):
        maps = {name: torch.from_numpy(x) for name, x in file(feed.pop('image'), feed).items()}
        finished = file.metadata['output'] == 'predictions'
        sample.pred = model.read_sample(maps, sample, _enlarge if finished else None)
        metric.process(None, [sample])
        count += 1
    return {name: float(value) for name, value in metric.evaluate(count).items()}


def _enlarge(task: Task, prediction: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A prediction (1, C, h, w) → (C, H, W)."""
    return task.enlarge_prediction(prediction, size)[0]


def _table(
    model: BaseMultiTaskModel, found: dict[str, dict[str, float]], files: dict[str, ExportedModel]
) -> tuple[str, list[list[str]], str]:
    """The comparison as text, its rows, and a line about sizes and speed."""
    names = primary_keys(found['float32'], model.tasks)
    better = greater_is_better_of(names)
    rows = []
    for name in names:
        before, after = found['float32'][name], found['int8'][name]
        arrow = {True: ' ↑', False: ' ↓'}.get(better.get(name), '')  # type: ignore[arg-type]
        change = f'{(after - before) / abs(before):+.2%}' if before else f'{after - before:+.4f}'
        rows.append([name + arrow, f'{before:.4f}', f'{after:.4f}', change])
    image = np.zeros([1, *files['int8'].metadata['image']['shape'][1:]], np.float32)
    told = [
        f'{name} {Path(file.path).stat().st_size / 1e6:.1f} MB, {1e3 * seconds(lambda: file(image)):.0f} ms an image'  # noqa: B023
        for name, file in files.items()
    ]
    footer = f'{"; ".join(told)} ({torch.get_num_threads()} threads).'
    return f'{format_table(["metric", *files, "change"], rows, right=(1, 2, 3))}\n{footer}', rows, footer
