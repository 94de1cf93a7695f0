"""Evaluating predictions that are already there."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from tqdm import tqdm

from mmmtl.errors import ConfigError, FileError, suggest
from mmmtl.evaluation.metrics.records import RECORDS_FILE
from mmmtl.evaluation.table import metrics_table
from mmmtl.registry import DATASETS, METRICS, register_all_modules
from mmmtl.utils.files import write_json

from .prediction_files import PredictionFolder


def evaluate_predictions(
    cfg: Config,
    folder: str,
    work_dir: str | None = None,
    tasks: Sequence[str] | None = None,
    formats: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, float]:
    """Evaluate a folder of predictions on the test set of a config, without a network.

    Files that ``tools/test.py --out`` wrote give the digits that ``tools/test.py`` printed. A table is printed;
    ``metrics.json`` and ``records.npz`` are written, so that the folder can be compared like a run.

    Args:
        cfg: What :func:`~mmmtl.config.load_config` returned.
        folder: See :class:`~mmmtl.analysis.prediction_files.PredictionFolder`.
        work_dir: Where the metrics go; default: ``folder``.
        tasks: Evaluate only these tasks; default: all of the test set.
        formats: What the numbers of other code's pictures mean, ``{task: dict(scale=..., offset=...)}``.

    Returns:
        The metrics.

    Raises:
        ConfigError: Mistakes in the config or the arguments.
        FileError: A prediction that is missing or not what its task predicts.
    """
    register_all_modules()
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise ConfigError(f'{cfg.filename or "the config"} has no test_dataloader or no test_evaluator')
    if not osp.isdir(folder):
        raise FileNotFoundError(f'there is no folder of predictions at {folder}')
    dataset_cfg = dict(cfg.test_dataloader.dataset)
    if tasks:
        unknown = [name for name in tasks if name not in dataset_cfg.get('tasks', {})]
        if unknown:
            known = list(dataset_cfg.get('tasks', {}))
            raise ConfigError(f"'{unknown[0]}' is not a task of the test set ({known}).{suggest(unknown[0], known)}")
        dataset_cfg['tasks'] = {name: dataset_cfg['tasks'][name] for name in tasks}
    dataset = DATASETS.build(dataset_cfg)
    evaluator = _evaluator(cfg.test_evaluator, osp.join(work_dir or folder, RECORDS_FILE))
    evaluator.dataset_meta = dataset.metainfo
    predictions = PredictionFolder(folder, dataset.metainfo['tasks'], nested(formats or {}))
    for i in tqdm(range(len(dataset)), desc='evaluating files', unit='image', delay=5):
        sample = dataset[i]['data_samples']
        maps = {name: torch.from_numpy(predictions.read(sample.sample_id, name)) for name in sample.gt.keys()}
        for name, value in maps.items():
            size = tuple(sample.gt.get(name).shape[-2:])
            if tuple(value.shape[-2:]) != size:
                raise FileError(
                    f"{predictions.places[name]}: the prediction of task '{name}' for sample '{sample.sample_id}' is "
                    f'{value.shape[-2]} x {value.shape[-1]}, its label {size[0]} x {size[1]} (height x width): predictions '
                    f'have the size of the image'
                )
        sample.pred = maps
        evaluator.process([sample])
    metrics = {name: float(value) for name, value in evaluator.evaluate(len(dataset)).items()}
    path = write_json(osp.join(work_dir or folder, 'metrics.json'), metrics)
    print(metrics_table(metrics, dataset.metainfo['tasks'], evaluator.metrics))
    print(f'\nwritten: {path}')
    return metrics


def nested(formats: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``{'TASK.KEY': value}`` of a command line, or ``{TASK: {KEY: value}}``, as the latter.

    Raises:
        ConfigError: A key of another form.
    """
    result: dict[str, dict[str, Any]] = {}
    for name, value in formats.items():
        task, _, key = name.rpartition('.')
        if not task and not isinstance(value, Mapping):
            raise ConfigError(f'formats: expected TASK.KEY=VALUE, for example depth.scale=0.001, got {name}={value!r}')
        result.setdefault(task or name, {}).update({key: value} if task else value)
    return result


def _evaluator(config: Any, records: str) -> Evaluator:
    """The config's metrics; the first that can keeps what every image contributed."""
    configs = [dict(c) for c in (config if isinstance(config, (list, tuple)) else [config])]
    metrics = [METRICS.build(c) for c in configs]
    for metric in metrics:
        if getattr(metric, 'records', records) is None:
            metric.records = records
            break
    return Evaluator(metrics)
