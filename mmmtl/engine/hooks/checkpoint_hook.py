"""Checkpoints that a crash cannot take away: replaced whole, deleted late, verified before a run resumes from them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.dist import barrier, broadcast, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner.base_loop import BaseLoop

from mmmtl.engine.checkpoint_files import damage, newest_first, plain, remove_partial
from mmmtl.registry import HOOKS
from mmmtl.utils.files import write_atomically

POINTER = 'last_checkpoint'


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


@HOOKS.register_module()
class AtomicCheckpointHook(CheckpointHook):
    """mmengine's ``CheckpointHook`` with the same arguments, made safe against kills, full disks and damaged files.

    * A checkpoint is written beside its place, flushed to the disk and renamed: there is never half a file under its
      name. What it replaces (``max_keep_ckpts``, the previous best) is deleted only after the new one stands.
    * Before a run resumes, every byte of the file is checked. ``--resume`` without a path passes over damaged files,
      with a warning that names them, to the newest whole one; a damaged file given by name is an error.
    * Objects are kept out of the file, so that it loads with ``weights_only=True``.
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

    def __init__(self, by_epoch: bool = False, backend_args: dict | None = None, **kwargs: Any):
        self.atomic = backend_args is None
        super().__init__(by_epoch=by_epoch, backend_args=backend_args or {'backend': 'AtomicLocalBackend'}, **kwargs)

    def before_run(self, runner: Any) -> None:
        """If the run is to resume, see to it that it resumes from a whole file."""
        if not getattr(runner, '_resume', False):
            return
        named = getattr(runner, '_load_from', None)
        if is_main_process():
            if named is None:
                self._repair_pointer(runner)
            elif Path(named).exists() and damage(named):
                raise RuntimeError(
                    f'cannot resume from {named}: {damage(named)}. '
                    f'Resume from another file, or with --resume alone from the newest whole one.'
                )
        barrier()

    def _repair_pointer(self, runner: Any) -> None:
        """See that the file ``last_checkpoint``, which mmengine resumes from, names a whole checkpoint, or else the
        newest whole one before it; a folder that lost that file gets one."""
        pointer = Path(runner.work_dir) / POINTER
        last = Path(pointer.read_text(encoding='utf-8').strip()) if pointer.exists() else None
        folder = last.parent if last is not None else self._folder(runner)
        candidates = newest_first(folder, self.filename_tmpl, before=last.name if last else '')
        if last is not None:
            candidates.insert(0, last)
        for path in candidates:
            wrong = damage(path)
            if wrong is None:
                if path != last:
                    runner.logger.warning(f'Resuming from {path} instead.' if last else f'Found {path} to resume from.')
                    write_atomically(pointer, str(path), durable=True)
                return
            runner.logger.warning(f'Passing over the checkpoint {path}: {wrong}.')
        if candidates:
            raise RuntimeError(
                f'none of the {len(candidates)} checkpoint(s) in {folder} is whole: '
                f'{", ".join(path.name for path in candidates)}. To start anew, leave out --resume.'
            )

    def _folder(self, runner: Any) -> Path:
        """Return where this run's checkpoints go, before ``before_train`` has settled it."""
        if self.out_dir is None:
            return Path(runner.work_dir)
        return Path(self.out_dir) / Path(runner.work_dir).name

    def before_train(self, runner: Any) -> None:
        """Settle the folder, sweep what an interrupted save left, and warn of saves in the middle of an update."""
        super().before_train(runner)
        if self.atomic and is_main_process() and os.path.isdir(self.out_dir):
            remove_partial(self.out_dir)
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', 1)
        if not self.by_epoch and self.interval > 0 and self.interval % counts:
            runner.logger.warning(
                f'Checkpoints every {self.interval} iterations fall between updates (accumulative_counts={counts}); '
                f'a run resumed from such a one loses the gradients gathered so far. Use a multiple of {counts}.'
            )

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

    def _save_checkpoint_with_step(self, runner: Any, step: int, meta: dict) -> None:
        self._share_buffers(runner)
        runner.call_hook('before_checkpoint')
        with self._removals_after() as late:
            super()._save_checkpoint_with_step(runner, step, meta)
        late.flush(self._kept())

    def _save_best_checkpoint(self, runner: Any, metrics: dict) -> None:
        if not self.save_best:
            return
        runner.call_hook('before_checkpoint')
        with self._removals_after() as late:
            super()._save_best_checkpoint(runner, metrics)
        late.flush(self._kept())

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Keep objects out of the file: task objects in the dataset's description become their class names."""
        for key in ('meta', 'message_hub'):
            checkpoint[key] = plain(checkpoint[key])

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Put the dataset's own description where it matches the saved one, which mmengine compares byte by byte."""
        loop = getattr(runner, '_train_loop', None)
        if isinstance(loop, BaseLoop) and isinstance(checkpoint.get('meta'), dict):
            own = getattr(loop.dataloader.dataset, 'metainfo', None)
            if repr(plain(own)) == repr(checkpoint['meta'].get('dataset_meta')):
                checkpoint['meta']['dataset_meta'] = own
