"""Checkpoints that a crash cannot take away: replaced whole, deleted late, verified before a run resumes from them."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import broadcast, broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner.base_loop import BaseLoop

from mmmtl.engine.checkpoint_files import checkpoint_folder, newest_first, plain, remove_partial, why_not_resumable
from mmmtl.engine.run_state import find_difference
from mmmtl.engine.updates import batches_per_update
from mmmtl.errors import CheckpointError, UserError
from mmmtl.registry import HOOKS
from mmmtl.utils.files import write_atomically
from mmmtl.utils.models import unwrap_model
from mmmtl.utils.stored_config import config_to_json

POINTER = 'last_checkpoint'
SLOW_SECONDS = 60
"""Saving longer than this is told in the log."""


class _LateRemovals:
    """A file backend whose removals wait until :meth:`flush`."""

    def __init__(self, backend: Any):
        self._backend = backend
        self._waiting: list[tuple[Any, str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def remove(self, path: str) -> None:
        self._waiting.append((self._backend.remove, path))

    def rmtree(self, path: str) -> None:
        self._waiting.append((self._backend.rmtree, path))

    def flush(self, keep: set[str]) -> None:
        for remove, path in self._waiting:
            if path not in keep and self._backend.exists(path):
                remove(path)


def _is_no_remark(record: logging.LogRecord) -> bool:
    """Whether a line of the log is not what mmengine remarks on its own use of its own classes."""
    return 'will be deprecated in future' not in record.getMessage()


def _remove_file(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def _same(own: Any, saved: Any) -> bool:
    """Whether two nests of containers hold the same; as much of the saved one is looked at as there is of our own."""
    if type(own) is not type(saved):
        return False
    if isinstance(own, dict):
        return own.keys() == saved.keys() and all(_same(value, saved[key]) for key, value in own.items())
    if isinstance(own, (list, tuple)):
        return len(own) == len(saved) and all(map(_same, own, saved))
    return np.array_equal(own, saved) if isinstance(own, np.ndarray) else bool(own == saved)


def _resume(load_or_resume: Callable[[], None], path: str) -> None:
    """Resume; what a file of another form raises (a state of another optimiser, text for a number) is told with its path."""
    try:
        load_or_resume()
    except (UserError, OSError):
        raise
    except Exception as error:
        raise CheckpointError(
            f'cannot resume from {path}: what it holds is not the state of a run of this config '
            f'({type(error).__name__}: {str(error)[:300]}). To start anew from its weights, give load_from instead of --resume.'
        ) from error


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` with the same arguments, made safe against kills, full disks and damaged files.

    * A checkpoint is written beside its place, flushed to the disk and renamed: there is never half a file under its
      name. What it replaces (``max_keep_ckpts``, the previous best) is deleted only after the new one stands.
    * Before a run resumes, every byte of the file is checked against a digest. ``--resume`` without a path passes over
      damaged files, with a warning that names them, to the newest whole one; a damaged file given by name is an error.
    * Objects are kept out of the file, so that it loads with ``weights_only=True``; the config in it is JSON.
    * In distributed runs all ranks take over rank 0's buffers (running statistics), which are those in the file, at
      each save and before each validation: what is validated is what is saved, and what a resumed run goes on with.
    * Each save is announced to all ranks (hook method ``before_checkpoint(runner)``), so that hooks can gather state.

    Args:
        by_epoch: Iterations are this project's default.
        backend_args: Where to save; None is the local disk.
        **kwargs: As in ``mmengine.hooks.CheckpointHook``: ``interval``, ``max_keep_ckpts``, ``save_best``, ``rule``,
            ``save_last``, ``out_dir``, ``published_keys``, ...
    """

    file_backend: Any
    interval: int
    keep_ckpt_ids: deque[int]

    def __init__(self, by_epoch: bool = False, backend_args: dict | None = None, **kwargs: Any):
        self.atomic = backend_args is None
        self._chosen = False
        super().__init__(by_epoch=by_epoch, backend_args=backend_args or {'backend': 'AtomicLocalBackend'}, **kwargs)

    def before_run(self, runner: Any) -> None:
        """If the run is to resume, see to it that it resumes from a whole file."""
        if getattr(runner, '_resume', False) and not self._chosen:
            self.choose_checkpoint(runner)

    def choose_checkpoint(self, runner: Any) -> str | None:
        """Choose the checkpoint that a run resumes from, the same on all ranks.

        The files in the work dir count, newest first, and not the pointer ``last_checkpoint``, which may be one behind,
        empty, or of a folder that has been moved; it helps where the folder holds none. Damaged files are passed over, with
        a warning that names them.

        Returns:
            Its path; None where there is nothing to resume from, and the run starts at the beginning.

        Raises:
            CheckpointError: A damaged file that was given by name, or none that is whole.
        """
        found: list[Any] = [None]
        if is_main_process():
            try:
                found[0] = self._newest_whole(runner)
            except CheckpointError as error:
                found[0] = error
        broadcast_object_list(found)
        if isinstance(found[0], CheckpointError):
            raise found[0]
        runner._resume, runner._load_from, self._chosen = found[0] is not None, found[0], True
        if found[0] is not None:
            runner.load_or_resume = functools.partial(_resume, runner.load_or_resume, found[0])
        return found[0]

    def _newest_whole(self, runner: Any) -> str | None:
        named = getattr(runner, '_load_from', None)
        if named is not None:
            wrong = why_not_resumable(named) if '://' not in str(named) else None
            if wrong:
                raise CheckpointError(
                    f'cannot resume from {named}: {wrong}. '
                    f'Resume from another file, or with --resume alone from the newest whole one.'
                )
            return str(named)
        folder = checkpoint_folder(runner.work_dir, self.out_dir)  # before_train has not settled it yet
        candidates = newest_first(folder, self.filename_tmpl)
        pointed = self._pointed(runner)
        if not candidates and pointed is not None:
            candidates = [pointed]
        for path in candidates:
            wrong = why_not_resumable(path)
            if wrong is None:
                runner.logger.info(f'Resuming from {path}.')
                return str(path)
            runner.logger.warning(f'Passing over the checkpoint {path}: {wrong}.')
        if candidates:
            raise CheckpointError(
                f'none of the {len(candidates)} checkpoint(s) in {folder} is whole: '
                f'{", ".join(path.name for path in candidates)}. To start anew, leave out --resume.'
            )
        runner.logger.info(f'There is no checkpoint in {folder} to resume from: the run starts at the beginning.')
        return None

    @staticmethod
    def _pointed(runner: Any) -> Path | None:
        """The file that ``last_checkpoint`` names, if it names one."""
        try:
            path = Path((Path(runner.work_dir) / POINTER).read_text(encoding='utf-8').strip())
            return path if path.is_file() else None
        except (OSError, ValueError):
            return None

    def before_train(self, runner: Any) -> None:
        """Settle the folder, sweep what an interrupted save left, and warn of saves in the middle of an update."""
        runner.logger.addFilter(_is_no_remark)
        super().before_train(runner)
        self._forget_strange_paths()
        if self.atomic and is_main_process() and os.path.isdir(self.out_dir):
            remove_partial(self.out_dir)
        counts = batches_per_update(runner.optim_wrapper) // getattr(runner.train_loop, 'accumulation', 1)
        length = runner.max_iters or 0
        if not self.by_epoch and self.interval > length > 0:
            self.interval = max(1, length // 8 // counts) * counts
            runner.logger.info(f'A run of {length} iterations saves a checkpoint every {self.interval}.')
        if not self.by_epoch and self.interval > 0 and self.interval % counts:
            runner.logger.warning(
                f'Checkpoints every {self.interval} iterations fall between updates (accumulative_counts={counts}); '
                f'a run resumed from such a one loses the gradients gathered so far. Use a multiple of {counts}.'
            )

    def _forget_strange_paths(self) -> None:
        """Of the best checkpoints that a resumed file names, keep those of this run: a better one deletes them."""

        def own(path: Any) -> Any:
            return path if path and os.path.dirname(os.path.abspath(path)) == os.path.abspath(self.out_dir) else None

        self.best_ckpt_path = own(getattr(self, 'best_ckpt_path', None))
        self.best_ckpt_path_dict = {k: own(v) for k, v in getattr(self, 'best_ckpt_path_dict', {}).items()}

    @contextmanager
    def _removals_after(self) -> Iterator[_LateRemovals]:
        """Put off deletions until the block has succeeded."""
        backend = self.file_backend
        self.file_backend = late = _LateRemovals(backend)
        try:
            yield late
        finally:
            self.file_backend = backend

    def _kept(self) -> set[str]:
        """Return the paths that must not be deleted: the last and the best checkpoints as of now."""
        best = [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]
        return {str(path) for path in (self.last_ckpt, *best) if path}

    def before_val(self, runner: Any) -> None:
        """Validate the model that would be saved."""
        self._share_buffers(runner)

    @staticmethod
    def _share_buffers(runner: Any) -> None:
        if runner.world_size > 1:
            for buffer in runner.model.buffers():
                broadcast(buffer)

    def save_now(self, runner: Any, step: int, anew: bool = False) -> str:
        """Save at a moment outside of the schedule, on all ranks; return the path.

        Args:
            runner: The runner.
            step: How many iterations are done.
            anew: Also in the place of a checkpoint of that step, which says less.
        """
        path = os.path.join(self.out_dir, self.filename_tmpl.format(step))
        if anew or self.last_ckpt != path or not os.path.exists(path):
            self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=step))
        return path

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        """Save, then point at the new file, then delete what it replaces."""
        self._share_buffers(runner)
        runner.call_hook('before_checkpoint')
        outdated = []
        if self.max_keep_ckpts > 0 and step not in self.keep_ckpt_ids:
            kept = [*self.keep_ckpt_ids, step]
            outdated = kept[: -self.max_keep_ckpts]
            self.keep_ckpt_ids = deque(kept[-self.max_keep_ckpts :])
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        self.last_ckpt = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(step))
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        started = time.monotonic()
        runner.save_checkpoint(
            self.out_dir,
            self.filename_tmpl.format(step),
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if not is_main_process():
            return
        seconds = time.monotonic() - started
        if seconds > SLOW_SECONDS:
            runner.logger.warning(f'Saving {self.last_ckpt} took {seconds:.0f} s: the disk is slow.')
        write_atomically(os.path.join(runner.work_dir, POINTER), self.last_ckpt)
        for old in outdated:
            path = self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old))
            if path not in self._kept():
                (self.file_backend.rmtree if self.file_backend.isdir(path) else _remove_file)(path)

    def _save_best_checkpoint(self, runner: Any, metrics: dict) -> None:
        if not self.save_best:
            return
        runner.call_hook('before_checkpoint')
        with self._removals_after() as late:
            super()._save_best_checkpoint(runner, metrics)
        late.flush(self._kept())

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Keep objects and programs out of the file: tasks become their class names, the config becomes JSON."""
        checkpoint['meta'] = dict(checkpoint['meta'], cfg=config_to_json(runner.cfg))
        for key in ('meta', 'message_hub'):
            checkpoint[key] = plain(checkpoint[key])

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Compare the optimiser's state with this run's; put the dataset's own description where it matches the saved one,
        which mmengine compares byte by byte.

        Raises:
            CheckpointError: A state of another optimiser or network; names the field.
        """
        if getattr(runner, '_resume', False):
            found = find_difference(checkpoint, runner.optim_wrapper, unwrap_model(runner.model))
            if found:
                raise CheckpointError(
                    f'cannot resume from {runner._load_from}: {found}. Give the config of that run, or take its weights '
                    f'alone with load_from.'
                )
        loop = getattr(runner, '_train_loop', None)
        if isinstance(loop, BaseLoop) and isinstance(checkpoint.get('meta'), dict):
            own = getattr(loop.dataloader.dataset, 'metainfo', None)
            if _same(plain(own), checkpoint['meta'].get('dataset_meta')):
                checkpoint['meta']['dataset_meta'] = own
