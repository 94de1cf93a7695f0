"""Loggers: TensorBoard, Weights & Biases and MLflow get the scalars and the panels of a run, without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from mmmtl.registry import VISBACKENDS, VISUALIZERS, register_all_modules
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import build_tasks


def log_a_run(folder: Path, backend: dict) -> None:
    """Two scalars and a panel, as the hooks hand them over."""
    register_all_modules()
    visualizer = VISUALIZERS.build(
        dict(type='PanelVisualizer', name=f'of {folder}', vis_backends=[backend], save_dir=str(folder))
    )
    visualizer.dataset_meta = dict(tasks=build_tasks(dict(depth=dict(type='Depth'))))
    visualizer.add_config(Config(dict(work_dir=str(folder))))
    visualizer.add_scalars({'loss': 0.5, 'depth/RMSE': 2.25}, step=3)
    sample = MTLDataSample(metainfo=dict(sample_id='a'))
    sample.pred = dict(depth=torch.ones(1, 16, 24))
    visualizer.add_datasample('panels/a', np.zeros((16, 24, 3), np.uint8), sample, step=3)
    visualizer.close()


def test_tensorboard_gets_scalars_and_panels(tmp_path):
    pytest.importorskip('tensorboard', reason="pip install 'mmmtl[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log_a_run(tmp_path, dict(type='TensorboardVisBackend'))
    events = EventAccumulator(str(next(tmp_path.rglob('events.out.*')).parent)).Reload()
    assert events.Scalars('depth/RMSE')[0].value == 2.25 and events.Scalars('loss')[0].step == 3
    assert events.Images('panels/a')[0].width > 24


def test_weights_and_biases_gets_scalars_and_panels(tmp_path, monkeypatch):
    pytest.importorskip('wandb', reason="pip install 'mmmtl[loggers]'")
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    log_a_run(tmp_path, dict(type='WandbVisBackend', init_kwargs=dict(project='mmmtl', mode='offline')))
    written = b''.join(path.read_bytes() for path in tmp_path.rglob('*.wandb'))
    assert b'depth/RMSE' in written and b'2.25' in written
    assert list(tmp_path.rglob('media/images/**/*.png'))


def test_mlflow_gets_scalars_and_panels(tmp_path, monkeypatch):
    mlflow = pytest.importorskip('mlflow', reason="pip install 'mmmtl[loggers]'")
    monkeypatch.setenv('GIT_PYTHON_REFRESH', 'quiet')
    monkeypatch.chdir(tmp_path)  # where MLflow puts files of runs whose table is a database
    uri = f'sqlite:///{tmp_path}/runs.db'
    log_a_run(tmp_path, dict(type='MLflowVisBackend', exp_name='mmmtl', tracking_uri=uri))
    client = mlflow.MlflowClient(tracking_uri=uri)
    run = client.search_runs([client.get_experiment_by_name('mmmtl').experiment_id])[0]
    assert run.data.metrics['depth/RMSE'] == 2.25
    assert [item.path for item in client.list_artifacts(run.info.run_id, 'panels')] == ['panels/a_3.png']


def test_pictures_in_mlflow_have_a_format_and_their_step():
    from types import SimpleNamespace

    seen = []
    backend = VISBACKENDS.get('MLflowVisBackend').__new__(VISBACKENDS.get('MLflowVisBackend'))
    backend._env_initialized = True
    backend._mlflow = SimpleNamespace(log_image=lambda image, name: seen.append(name))
    backend.add_image('panels/a', np.zeros((2, 2, 3), np.uint8), step=3)
    assert seen == ['panels/a_3.png']
