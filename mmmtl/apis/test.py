"""Evaluating a checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
import os.path as osp
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, broadcast_object_list, is_main_process
from mmengine.hooks import EarlyStoppingHook
from mmengine.runner import Runner

from mmmtl.config.check import check_config
from mmmtl.datasets.mixed import sample_id_of
from mmmtl.errors import ConfigError, InputError
from mmmtl.evaluation.metrics.records import RECORDS_FILE
from mmmtl.evaluation.table import metrics_table
from mmmtl.ops.inference import optimize_for_inference
from mmmtl.registry import HOOKS, MODELS
from mmmtl.utils.files import write_atomically, write_json
from mmmtl.utils.models import unwrap_model
from mmmtl.utils.signatures import accepted_arguments

from .checkpoint import load_checkpoint
from .model import forget_pretrained
from .runs import TRAIN_SECTIONS, VAL_SECTIONS, drop_sections, make_runner, prepare, rename

MEASURED = 'measured'
"""Folder of a work dir for what an evaluation has measured, until it is complete."""


def test(
    cfg: Config,
    checkpoint: str | None,
    work_dir: str | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    launcher: str = 'none',
    max_panels: int | None = None,
    tta: bool = False,
    optimize: bool = True,
    resume: bool = False,
    explain: bool = False,
    times: bool = False,
) -> dict[str, float]:
    """Evaluate a checkpoint on the test set of a config.

    Prints a table by task and writes ``metrics.json`` (``{'TASK/METRIC': number}``, every digit) into the
    work dir, and ``records.npz``: what every image contributed, from which runs are compared.

    The metrics are the same to the last digit for any batch size and number of processes: images go through
    the network one by one, the noise of every image comes from its id, sums are exact, and on a CPU every
    process computes with one thread (convolution libraries add up in another order for another batch size
    or number of threads). One process per core (``tools/dist_test.sh``) makes up for that. ``--cfg-options
    model.predict_one_by_one=False`` runs whole batches on all threads instead; last digits then depend on
    both.

    Args:
        cfg: What :func:`load_config` returned.
        checkpoint: ``.pth`` or ``.safetensors``; None evaluates the weights as drawn.
        work_dir: Default ``work_dirs/`` + the config's name.
        out: Folder for all predictions, without loss (``TASK/SAMPLE_ID.png`` or ``.npy``).
        show_dir: Folder for one panel per image.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        max_panels: Draw no more panels than this per process.
        tta: Average over mirrored (and enlarged) views, as ``model.tta`` of the config says; without one, over the
            image and its mirror image.
        optimize: Predict with faster forms of the network's modules
            (:func:`~mmmtl.ops.inference.optimize_for_inference`; on a CPU).
        resume: Predict only what an interrupted evaluation of the same config and checkpoint in the same work dir has
            not measured, or not written into ``out`` or ``show_dir``, yet; also with another number of processes.
        explain: Draw beside every panel how the prediction came about, and what the network makes of the labels.
        times: Print where the time goes: load, network, resize, metrics, pictures.

    Returns:
        ``{'TASK/METRIC': value}``.

    Raises:
        ConfigError: Mistakes in the config, all at once, before anything is built.
        CheckpointError: An unreadable checkpoint, or one of another network.
    """
    metrics, _ = run_test(
        cfg, checkpoint, work_dir, out, show_dir, launcher, max_panels, tta, optimize, resume, explain, times
    )
    barrier()
    return metrics


def run_test(
    cfg: Config,
    checkpoint: str | None,
    work_dir: str | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    launcher: str = 'none',
    max_panels: int | None = None,
    tta: bool = False,
    optimize: bool = True,
    resume: bool = False,
    explain: bool = False,
    times: bool = False,
    require_records: bool = False,
) -> tuple[dict[str, float], Runner]:
    """Do what :func:`test` does, and also return the runner; with ``require_records`` insist on ``records.npz``."""
    cfg = prepare(cfg, work_dir, launcher)
    check_config(cfg, parts=('model', 'test'))
    if tta:
        enable_tta(cfg.model)
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise ConfigError(f'{cfg.filename or "the config"} has no test_dataloader or no test_evaluator')
    keep_records(cfg, require_records)
    drop_sections(cfg, (*TRAIN_SECTIONS, *VAL_SECTIONS))
    cfg.custom_hooks = [h for h in cfg.get('custom_hooks') or [] if not ends_training(h)]
    cfg.load_from, cfg.resume = None, False
    if checkpoint is not None:
        forget_pretrained(cfg.model)
    named = [osp.basename(str(name)) for name in (cfg.filename, checkpoint) if name]
    with deterministic_reduction(cfg) if predict_one_by_one(cfg.model) else nullcontext():
        runner = make_runner(rename(cfg, '_test'))
        unwrap_model(runner.model).cfg = cfg
        if checkpoint is not None:
            load_checkpoint(runner.model, str(checkpoint))
        if optimize:
            optimize_for_inference(runner.model)
        add_hooks(runner, out, show_dir, max_panels, ' · '.join(named), explain)
        if times:
            runner.register_hook(dict(type='mmmtl.TimesHook'))
        continue_evaluation(runner, cfg, checkpoint, resume)
        metrics = {name: float(value) for name, value in runner.test().items()}
    if is_main_process():
        shutil.rmtree(osp.join(cfg.work_dir, MEASURED), ignore_errors=True)
        print(metrics_table(metrics, runner.test_dataloader.dataset.metainfo['tasks'], runner.test_evaluator.metrics))
        path = write_json(osp.join(cfg.work_dir, 'metrics.json'), metrics)
        more = (f', predictions in {out}' if out else '') + (f', panels in {show_dir}' if show_dir else '')
        print(f'\nwritten: {path}{more}')
        for metric in runner.test_evaluator.metrics:
            if getattr(metric, 'records_error', None):
                raise metric.records_error
    return metrics, runner


def ends_training(hook: Any) -> bool:
    """Whether a hook, or its config, watches a training in order to end it, and asks for a training loop."""
    kind = hook['type'] if isinstance(hook, Mapping) else type(hook)
    kind = HOOKS.get(kind) if isinstance(kind, str) else kind
    return isinstance(kind, type) and issubclass(kind, EarlyStoppingHook)


def keep_records(cfg: Config, required: bool) -> None:
    """Let the evaluator of a config keep what every image contributed, as ``records.npz`` in the work dir.

    Args:
        cfg: The config, changed in place.
        required: Whether a config without an evaluator that can is an error; its own file name is overruled then.

    Raises:
        ConfigError: No evaluator that can.
    """
    evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, (list, tuple)) else [cfg.test_evaluator]
    for evaluator in evaluators:
        if str(evaluator['type']).split('.')[-1] == 'MultiTaskMetric':
            if required or evaluator.get('records') is None:
                evaluator['records'] = osp.join(cfg.work_dir, RECORDS_FILE)
            return
    if required:
        raise ConfigError('test_evaluator: a report needs MultiTaskMetric, which keeps the values of single images')


def enable_tta(model_cfg: Any) -> None:
    """Switch test-time augmentation on.

    Raises:
        ConfigError: A model that does not know it.
    """
    if not _takes(model_cfg, 'tta'):
        raise ConfigError(f"model.type='{model_cfg['type']}': this model has no test-time augmentation (argument tta)")
    if model_cfg.get('tta') is None:
        model_cfg['tta'] = dict(flips=['none', 'horizontal'])


def _takes(model_cfg: Any, name: str) -> bool:
    """Whether a config's model has an argument of this name."""
    kind = model_cfg['type']
    return name in accepted_arguments(MODELS.get(kind) if isinstance(kind, str) else kind)[0]


def predict_one_by_one(model_cfg: Any) -> bool:
    """Ask for results that do not depend on batches, of models that know how and configs that don't say otherwise."""
    if _takes(model_cfg, 'predict_one_by_one'):
        model_cfg.setdefault('predict_one_by_one', True)
    return bool(model_cfg.get('predict_one_by_one'))


@contextmanager
def deterministic_reduction(cfg: Config) -> Iterator[None]:
    """Let every process add up in the same order: one thread on a CPU, no search for the fastest kernel on a GPU."""
    threads, deterministic = torch.get_num_threads(), torch.backends.cudnn.deterministic
    if get_device() == 'cpu':
        torch.set_num_threads(1)
    cfg.setdefault('env_cfg', {})['cudnn_benchmark'] = False
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = deterministic


def add_hooks(
    runner: Runner, out: str | None, show_dir: str | None, max_panels: int | None, subtitle: str, explain: bool
) -> None:
    """Hooks that write predictions and panels."""
    if explain and show_dir is None:
        raise ConfigError('explain=True draws pictures beside the panels: give show_dir (--show-dir DIR)')
    if max_panels is not None and show_dir is None:
        raise ConfigError(f'max_panels={max_panels} limits the panels: give show_dir (--show-dir DIR)')
    if out is not None:
        runner.register_hook(dict(type='mmmtl.PredictionHook', out_dir=out))
    if show_dir is not None:
        panels = dict(num_val=0, test_dir=show_dir, max_test=max_panels, subtitle=subtitle, explain=explain)
        runner.register_hook(dict(type='mmmtl.PanelHook', **panels))


def continue_evaluation(runner: Runner, cfg: Config, checkpoint: str | None, resume: bool) -> None:
    """Keep what is measured in ``WORK_DIR/measured/`` until the evaluation is complete; with ``resume`` go on from there.

    Raises:
        InputError: What is there is of another config or checkpoint.
    """
    folder = Path(cfg.work_dir) / MEASURED
    stat = os.stat(checkpoint) if checkpoint else None
    settings = {
        k: v for k, v in cfg.to_dict().items() if k in ('model', 'test_dataloader', 'test_evaluator', 'randomness')
    }
    own = json.dumps([settings, checkpoint, stat and (stat.st_size, stat.st_mtime)], default=str)
    if is_main_process():
        note = folder / 'of.txt'
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        elif note.is_file() and note.read_text(encoding='utf-8') != hashlib.sha256(own.encode()).hexdigest():
            raise InputError(
                f'--resume: {folder} holds what another config or checkpoint has measured; start anew without --resume'
            )
        write_atomically(note, hashlib.sha256(own.encode()).hexdigest())
    barrier()
    metrics = runner.test_evaluator.metrics
    keeping = [metric for metric in metrics if hasattr(metric, 'keep_progress')]
    known = [metric.keep_progress(str(folder / str(k))) for k, metric in enumerate(keeping)]
    loader = runner.test_dataloader
    # another metric has to see every image again
    if (
        not known
        or len(known) < len(metrics)
        or not hasattr(loader.sampler, 'leave_out')
        or not hasattr(loader.dataset, 'get_data_info')
    ):
        return
    written = [hook.has_written for hook in runner.hooks if hasattr(hook, 'has_written')]
    done = {name for name in set.intersection(*known) if all(there(runner, name) for there in written)}
    agreed = [done]  # other processes may be writing by the time they would look
    broadcast_object_list(agreed)
    done = agreed[0]
    left_out = {k for k in range(len(loader.dataset) if done else 0) if sample_id_of(loader.dataset, k) in done}
    if left_out:
        loader.sampler.leave_out(left_out)
        runner.logger.info(f'{len(left_out)} of {len(loader.dataset)} images have been measured already.')
