"""Predictions of several runs on the same images, below the ground truth."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence

import numpy as np
from mmengine.config import Config
from tqdm import tqdm

from mmmtl.datasets.io.memory import original_photograph
from mmmtl.datasets.mixed import sample_id_of
from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import DATASETS, register_all_modules
from mmmtl.utils.files import safe_name, write_png
from mmmtl.visualization import TRUTH, draw_rows, input_photograph, maps_of

from .prediction_files import PredictionFolder


def draw_side_by_side(
    cfg: Config,
    folders: Sequence[str],
    out_dir: str,
    names: Sequence[str] | None = None,
    images: Sequence[str] | None = None,
    number: int = 8,
) -> list[str]:
    """Draw a panel per image: the photograph, and per task the label and what each run predicted.

    Args:
        cfg: Config with the test set.
        folders: What ``tools/test.py --out`` wrote for each run; a task that a run does not have stays empty.
        out_dir: Where ``SAMPLE_ID.png`` go.
        names: What the runs are called in the panels; default: their folders.
        images: Sample ids; default: the first ``number`` of the test set.
        number: See ``images``.

    Returns:
        Paths of the panels.

    Raises:
        ConfigError: No test set, an unknown image, as many names as there are runs, a folder without predictions.
    """
    if not cfg.get('test_dataloader'):
        raise ConfigError(f'{cfg.filename or "the config"} has no test_dataloader')
    names = list(names or (osp.basename(osp.normpath(folder)) for folder in folders))
    if len({*names, TRUTH}) != len(folders) + 1:
        names = list(folders) if len(names) == len(folders) else names
        if len(names) != len(folders):
            raise ConfigError(f'--names: {len(names)} names for {len(folders)} runs')
    register_all_modules()
    dataset = DATASETS.build(cfg.test_dataloader['dataset'])
    tasks = dataset.metainfo['tasks']
    readers = {name: PredictionFolder(f, _predicted(f, tasks)) for name, f in zip(names, folders)}
    shown = {name: task for name, task in tasks.items() if any(name in reader.tasks for reader in readers.values())}
    places = {sample_id_of(dataset, i): i for i in range(len(dataset))}
    chosen = list(images) if images else list(places)[:number]
    for sample_id in chosen:
        if sample_id not in places:
            raise ConfigError(f"--images: no sample '{sample_id}' in the test set.{suggest(sample_id, places)}")
    paths = []
    for sample_id in tqdm(chosen, desc='drawing', unit='image', delay=5):
        packed = dataset[places[sample_id]]
        sample = packed['data_samples']
        image, *rest = input_photograph(packed['inputs'], sample.metainfo)
        whole = None if rest else original_photograph(sample)
        rows = {TRUTH: maps_of(sample.gt, shown)}
        for name, reader in readers.items():
            rows[name] = {task: _drawable(reader.read(sample_id, task)) for task in reader.tasks}
        more = dict(title=sample_id, image_next=rest[0] if rest else None)
        panel = draw_rows(image if whole is None else whole, shown, rows, **more)
        paths.append(write_png(osp.join(out_dir, safe_name(sample_id) + '.png'), panel))
    return paths


def _predicted(folder: str, tasks: dict) -> dict:
    """The tasks of which a folder holds predictions."""
    found = {n: t for n, t in tasks.items() if any(osp.isdir(osp.join(folder, name)) for name in (n, *t.aliases))}
    if not found:
        raise ConfigError(
            f'{folder} has no predictions: expected one folder per task, as tools/test.py --out writes them'
        )
    return found


def _drawable(prediction: np.ndarray) -> np.ndarray:
    return prediction.astype(np.float32) if prediction.dtype.kind == 'f' else prediction
