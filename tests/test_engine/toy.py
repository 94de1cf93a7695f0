"""A tiny model, dataset and run for the engine's tests, on one process or as a rank of several."""

from __future__ import annotations

import itertools
import time
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseDataPreprocessor, BaseModel
from mmengine.runner import FlexibleRunner, Runner
from torch import nn
from torch.utils.data import Dataset

from mmmtl.compat import init_cpu_dist
from mmmtl.registry import DATASETS, HOOKS, METRICS, MODELS

_NUMBERS = itertools.count()


class Noise:
    """A noise source as the models have it: an object with a generator."""

    def __init__(self):
        self.generator = torch.Generator()


class Thing:
    """An object in the dataset's description, as the tasks are."""


@MODELS.register_module(force=True)
class ToyModel(BaseModel):
    """Draws from every generator that RandomStateHook keeps: dropout, own noise, numpy, Python."""

    tasks = ('first', 'second')

    def __init__(
        self,
        data_preprocessor: dict | None = None,
        poison: tuple = (),
        poison_one: tuple = (),
        poison_gradient: tuple = (),
        poison_draws: tuple = (),
    ):
        super().__init__(data_preprocessor=BaseDataPreprocessor())
        self.body = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.Dropout(0.3), nn.Linear(16, 2))
        self.noise_source = Noise()
        self.poison, self.poison_one, self.poison_gradient = poison, poison_one, poison_gradient
        self.poison_draws = poison_draws  # the first sample of a batch, which a resumed run meets at the same place
        self.consumed, self.last = [], []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        import random

        x = torch.stack(list(inputs)).float() if isinstance(inputs, (list, tuple)) else inputs.float()
        if mode == 'predict':
            return [SimpleNamespace(out=out) for out in self.body(x)]
        draws = [int(sample.draw) for sample in data_samples]
        if not self.last or any(a is not b for a, b in zip(self.last, data_samples)):
            self.consumed.append(draws)  # a batch that is looked at again is the same batch
        self.last = list(data_samples)
        seen = len(self.consumed) - 1
        if self.training and (seen in self.poison or draws[0] in self.poison_draws):
            x = x * float('nan')
        x = x + 0.1 * torch.randn(x.shape, generator=self.noise_source.generator)
        x = x + 0.01 * float(np.random.standard_normal()) + 0.01 * random.random()
        out = self.body(x)
        losses = dict(loss_first=out[:, 0].square().mean(), loss_second=(out[:, 1] - 1).square().mean())
        if seen in self.poison_gradient:
            losses['loss_second'] = (out[:, 1] * 0).abs().sqrt().sum()  # finite, with an infinite derivative
        if seen in self.poison_one:
            losses['loss_second'] = losses['loss_second'] / 0
        return losses


@DATASETS.register_module(force=True)
class ToyDataset(Dataset):
    """Samples whose augmentation is seeded by the draw, as MTLDataset's is."""

    metainfo = dict(tasks=dict(thing=Thing()), palette=np.zeros((2, 3), np.uint8))
    tasks = ('first', 'second')

    def __init__(self, size: int = 10):
        self.size = size
        self.loaded = []

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        draw = getattr(index, 'draw', 0)
        self.loaded.append(draw)
        values = np.random.default_rng([int(index), draw]).normal(size=4)
        sample = SimpleNamespace(sample_id=f's{int(index)}', draw=draw)
        return dict(inputs=torch.from_numpy(values), data_samples=sample)


@METRICS.register_module(force=True)
class ToyMetric(BaseMetric):
    """Consumes random numbers while validating, which training must not notice."""

    def process(self, data_batch, data_samples):
        self.results.extend(float(sample.out.sum() + torch.randn(()) + np.random.rand()) for sample in data_samples)

    def compute_metrics(self, results):
        return dict(score=float(np.mean(results)))


def config(work_dir, iters: int = 8, **changes) -> Config:
    """Return a run of ``iters`` iterations; ``changes`` are merged into it, with dots in the keys as ``__``."""
    loader = dict(batch_size=3, num_workers=0, dataset=dict(type='ToyDataset'))
    cfg = Config(
        dict(
            default_scope='mmmtl',
            work_dir=str(work_dir),
            experiment_name='toy',
            model=dict(type='ToyModel'),
            train_dataloader=dict(**loader, sampler=dict(type='ResumableSampler')),
            val_dataloader=dict(**loader, sampler=dict(type='ExactSampler')),
            val_evaluator=dict(type='ToyMetric'),
            train_cfg=dict(type='ResumableTrainLoop', max_iters=iters, val_interval=3),
            val_cfg=dict(),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)),
            param_scheduler=[dict(type='PolyLR', power=0.9, eta_min=0, begin=0, end=8, by_epoch=False)],
            default_hooks=dict(
                checkpoint=dict(
                    type='AtomicCheckpointHook', interval=2, max_keep_ckpts=2, save_best='score', rule='less'
                )
            ),
            custom_hooks=[dict(type='RandomStateHook'), dict(type='NonFiniteLossHook')],
            randomness=dict(seed=5),
            log_level='WARNING',
            visualizer=None,
        )
    )
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return cfg


def train(cfg: Config) -> Runner:
    """Build and train, under a name of its own: mmengine shares logs and state between runs of one name and second."""
    torch.manual_seed(0)
    cfg.experiment_name = f'toy_{next(_NUMBERS)}'
    kind = FlexibleRunner if cfg.get('runner_type') == 'FlexibleRunner' else Runner
    runner = kind.from_cfg(cfg)
    runner.train()
    return runner


def state(runner: Runner) -> dict[str, torch.Tensor]:
    """Return everything a run ends with, as tensors: weights, buffers, optimiser state, generators."""
    from mmmtl.engine.random_state import capture

    model = getattr(runner.model, 'module', runner.model)
    found = {f'model.{name}': value.clone() for name, value in model.state_dict().items()}
    for index, values in runner.optim_wrapper.optimizer.state_dict()['state'].items():
        found.update({f'optimizer.{index}.{name}': torch.as_tensor(value) for name, value in values.items()})
    generators = capture(model)
    found.update(torch=generators['torch'], numpy=generators['numpy'][1], python=generators['python'][1])
    found.update({f'noise.{name}': value for name, value in generators['noise'].items()})
    return found


def train_rank(cfg: Config) -> dict[str, torch.Tensor]:
    """Train as one rank of several; return the state that this rank ends with."""
    init_cpu_dist(cfg, 'pytorch')
    cfg.launcher = 'pytorch'
    return state(train(cfg))


@HOOKS.register_module(force=True)
class SlowHook(Hook):
    """Makes iterations long enough to be interrupted."""

    def __init__(self, seconds: float = 0.2, validating: bool = False):
        self.seconds, self.validating = seconds, validating

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.seconds > 10:
            runner.logger.warning('stuck')
        end = time.monotonic() + self.seconds * (not self.validating)
        while time.monotonic() < end:
            time.sleep(0.01)

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        time.sleep(self.seconds * self.validating)
