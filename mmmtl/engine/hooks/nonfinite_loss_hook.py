"""A loss or gradient that is not a number stops before it reaches the weights, with the task and samples named."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.optim import AmpOptimWrapper
from torch import Tensor, nn

from mmmtl.engine import random_state
from mmmtl.engine.sharding import local
from mmmtl.errors import ConfigError, UserError
from mmmtl.registry import HOOKS
from mmmtl.utils.models import unwrap_model

COUNT_KEY = 'nonfinite_skipped'


class NonFiniteLossError(UserError, FloatingPointError):
    """A loss or a gradient became infinite or NaN; the message names the loss, the samples and what to do."""


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Checks losses before the backward pass and gradients before they are clipped, on all ranks alike.

    Nothing has learned from a batch when it is checked: in mode ``'skip'`` a dropped batch leaves weights, the optimiser's
    state, running statistics, balancing methods and averaged weights (``EMAHook``) as they were. Learning rates follow the
    iterations, dropped ones too.

    A float16 gradient scaler (``AmpOptimWrapper``) finds infinite gradients and skips the step by its own rule, which is
    left to it.

    Args:
        mode: ``'raise'`` stops training with :class:`NonFiniteLossError`. ``'skip'`` drops the batch, or, of gradients, the
            whole update: the log repeats the values of the last good batch, a warning names the batch, and the number of
            drops is kept (it is saved in checkpoints as ``nonfinite_skipped``). With gradient accumulation, a batch with a
            bad loss leaves the others of its update alone.
        check_gradients: Whether to look at the gradients too: an infinite derivative of a finite loss (a square root
            at 0, say) poisons the weights just as well. Costs one pass over the gradients per step.
        max_consecutive: In mode ``'skip'``, so many drops in a row, of losses and gradients together, mean that training
            has diverged: raise. A training that has made no step at all is one, too, however short it was.

    Raises:
        ConfigError: The mode is unknown, or ``'skip'`` with loss scaling.
    """

    priority = 'HIGH'

    def __init__(self, mode: str = 'raise', check_gradients: bool = True, max_consecutive: int = 20):
        if mode not in ('raise', 'skip'):
            raise ConfigError(f"NonFiniteLossHook: mode must be 'raise' or 'skip', got {mode!r}")
        self.mode, self.check_gradients, self.max_consecutive = mode, check_gradients, int(max_consecutive)
        self._undo: list[Callable[[], Any]] = []
        self._runner: Any = None
        self._model: nn.Module
        self._before_batch: list[Tensor] = []  # buffers
        self._before_update: list[Tensor] = []
        self._last: dict[str, float] = {}
        self._batches: list[tuple[tuple, dict]] = []  # those that the next step learns from
        self._scaled = self._stepped = False
        self._consecutive, self._dropped, self._learned = 0, False, False

    def before_train(self, runner: Any) -> None:
        """Attach to the model's forward pass, to the optimiser's step, and to averages of weights."""
        self._scaled = isinstance(runner.optim_wrapper, AmpOptimWrapper)
        if self.mode == 'skip' and self._scaled:
            raise ConfigError(
                "NonFiniteLossHook: mode='skip' cannot drop a batch from AmpOptimWrapper, whose loss "
                "scaling skips steps itself. Use mode='raise', or AutocastOptimWrapper (bfloat16)."
            )
        self._runner, self._model = runner, unwrap_model(runner.model)
        self._undo = [self._model.register_forward_hook(self._after_forward, with_kwargs=True).remove]
        if self.mode == 'skip':
            self._undo.append(self._model.register_forward_pre_hook(self._before_forward).remove)
            for hook in runner.hooks:
                if isinstance(hook, EMAHook) and hasattr(hook, 'ema_model'):
                    self._guard(hook.ema_model, 'update_parameters', lambda *args: not self._dropped)
        wrappers = dict(runner.optim_wrapper.items()) if hasattr(runner.optim_wrapper, 'items') else {}
        for wrapper in () if self._scaled else wrappers.values() or [runner.optim_wrapper]:
            self._guard(wrapper, 'step', lambda *args, of=wrapper, **kwargs: self._may_step(of))

    def _guard(self, owner: Any, name: str, allowed: Callable[..., bool]) -> None:
        """Let a method of ``owner`` run only where ``allowed``, called with its arguments, says so."""
        method, own = getattr(owner, name), name in vars(owner)

        @functools.wraps(method)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            return method(*args, **kwargs) if allowed(*args, **kwargs) else None

        object.__setattr__(owner, name, guarded)
        self._undo.append(lambda: object.__setattr__(owner, name, method) if own else object.__delattr__(owner, name))

    def after_train(self, runner: Any) -> None:
        """Detach."""
        for undo in self._undo:
            undo()
        self._undo, self._runner, self._batches = [], None, []
        self._before_batch = self._before_update = []
        if self._consecutive and not self._learned:
            raise NonFiniteLossError(
                f'The training ends after {self._consecutive} batches without having learned from one: all were dropped, '
                f'because their losses or gradients were not finite (see the log). Check the labels '
                f'(tools/misc/verify_dataset.py) and lower the learning rate.'
            )

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """A new batch, which has not been dropped, and after a step (of one optimiser or of several) a new update."""
        self._dropped = False
        if self._stepped or self._scaled:
            self._batches, self._stepped = [], False

    # losses -------------------------------------------------------------------------------------------------------
    def _before_forward(self, model: nn.Module, args: tuple) -> None:
        """Keep a copy of the buffers: a NaN in the input is in the running statistics before it is in a loss."""
        if model.training:
            self._before_batch = [buffer.detach().clone() for buffer in model.buffers()]
            if not self._batches:
                self._before_update = self._before_batch

    def _restore(self, buffers: list[Tensor]) -> None:
        with torch.no_grad():
            for buffer, saved in zip(self._model.buffers(), buffers):
                buffer.copy_(saved)

    def _after_forward(self, model: nn.Module, args: tuple, kwargs: dict, losses: Any) -> Any:
        """Check the losses of a training step; return their replacement where the batch is dropped."""
        if not model.training or not isinstance(losses, dict) or kwargs.get('mode', 'loss') != 'loss':
            return None
        if not any('loss' in name for name in losses):
            return None
        values = {name: _total(value) for name, value in losses.items()}  # also what is for the log alone
        stacked = torch.stack([value.detach().float() for value in values.values()])
        found = dict(zip(values, stacked.tolist()))
        bad = [f'{name} is {value}' for name, value in found.items() if 'loss' in name and not math.isfinite(value)]
        if not self._anywhere(bool(bad), stacked.device):
            self._last = found
            self._batches.append((args, kwargs))
            return None
        self._report(', '.join(bad), _sample_ids(args, kwargs))
        self._restore(self._before_batch)
        # constants that need a gradient but reach no weight: the backward pass runs, and the weights get none
        return {name: stacked.new_tensor(self._last.get(name, 0.0)).requires_grad_() for name in losses}

    @staticmethod
    def _anywhere(wrong: bool, device: torch.device) -> bool:
        """Whether something is wrong on any rank."""
        if get_world_size() == 1:
            return wrong
        flag = torch.tensor(float(wrong), device=device)
        all_reduce(flag, 'max')
        return bool(flag.item())

    # gradients ----------------------------------------------------------------------------------------------------
    def _may_step(self, wrapper: Any) -> bool:
        """Look at the gradients before anything is done with them; take them away where the update is dropped."""
        batches, self._stepped = self._batches, True
        if not batches:  # all were dropped
            return False
        parameters = [p for group in wrapper.optimizer.param_groups for p in group['params'] if p.grad is not None]
        names = {id(p): name for name, p in self._model.named_parameters()}
        bad = []
        if parameters and self.check_gradients:
            # the quickest look at all values; finite ones whose squares overflow (over 1e19) count as infinite
            norms = torch.stack([n.float() for n in torch._foreach_norm([local(p.grad) for p in parameters])])
            finite = torch.isfinite(norms)
            if not finite.all().item():
                bad = [names.get(id(p), '?') for p, ok in zip(parameters, finite.tolist()) if not ok]
        device = parameters[0].device if parameters else next(self._model.parameters()).device
        if not self._anywhere(bool(bad), device):
            self._consecutive, self._learned = 0, True
            self._dropped = (
                False  # a step is made, without the batches that were dropped: averages of weights follow it
            )
            return True
        samples = [name for batch in batches for name in _sample_ids(*batch)]
        reason = (
            f'the gradients of {len(bad)} of {len(parameters)} weights are not finite (first: {bad[0]})' if bad else ''
        )
        self._report(reason, samples, self._blame(batches) if bad else '')
        self._restore(self._before_update)
        for parameter in parameters:
            parameter.grad = None
        return False

    def _blame(self, batches: list[tuple[tuple, dict]]) -> str:
        """Repeat the batches and say which of their losses has a gradient that is not finite, and where first."""
        if not isinstance(self._runner.model, (type(self._model), nn.parallel.DistributedDataParallel)):
            return ''  # parts of a sharded network cannot run by themselves
        state, buffers = random_state.capture(self._model), [b.detach().clone() for b in self._model.buffers()]
        parameters = {n: p for n, p in self._model.named_parameters() if p.requires_grad}
        guilty: dict[str, str] = {}
        try:
            for args, kwargs in batches:
                losses = self._model.forward(*args, **kwargs)
                for name, value in losses.items():
                    total = _total(value) if 'loss' in name and name not in guilty else None
                    if total is None or not total.requires_grad:
                        continue
                    found = torch.autograd.grad(total, list(parameters.values()), retain_graph=True, allow_unused=True)
                    first = next(
                        (n for n, g in zip(parameters, found) if g is not None and not g.isfinite().all()), None
                    )
                    if first:
                        guilty[name] = first
        except RuntimeError as error:  # the report goes without
            self._runner.logger.debug(f'the batches could not be repeated: {error}')
        finally:
            random_state.restore(state, self._model)
            self._restore(buffers)
        return ''.join(f'; they come from {name} (its first: {first})' for name, first in guilty.items())

    # words --------------------------------------------------------------------------------------------------------
    def _report(self, reason: str, samples: list[str], more: str = '') -> None:
        """Raise, or count and warn, in the same way on every rank."""
        own = f'{reason} (samples: {", ".join(samples) or "unnamed"}){more}' if reason else ''
        reports = all_gather_object(own)
        if get_world_size() > 1:
            reports = [f'rank {rank}: {text}' for rank, text in enumerate(reports) if text]
        place = f'Iteration {self._runner.iter + 1}: {"; ".join(reports)}.'
        self._consecutive, self._dropped = self._consecutive + 1, True
        hub = self._runner.message_hub
        if self.mode == 'raise' or self._consecutive > self.max_consecutive:
            row = '' if self.mode == 'raise' else f' {self._consecutive} batches in a row were dropped.'
            raise NonFiniteLossError(
                f'{place}{row} The weights are as before this step. Check the labels of these samples '
                f'(tools/misc/verify_dataset.py) and lower the learning rate or clip the gradients '
                f"(optim_wrapper.clip_grad); custom_hooks=[dict(type='NonFiniteLossHook', mode='skip')] drops such "
                f'batches.'
            )
        count = hub.runtime_info.get(COUNT_KEY, 0) + 1
        hub.update_info(COUNT_KEY, count)
        if get_rank() == 0:
            self._runner.logger.warning(f'{place} The batch is dropped ({count} so far).')


def _total(value: Any) -> Tensor:
    """Return one number for a loss: a tensor's mean, or the sum of a list's means, as mmengine adds them up."""
    return value.mean() if isinstance(value, Tensor) else torch.stack([item.mean() for item in value]).sum()


def _sample_ids(args: tuple, kwargs: dict) -> list[str]:
    """Find the ids of the batch's samples in the arguments of ``forward(inputs, data_samples, ...)``."""
    samples = kwargs.get('data_samples', args[1] if len(args) > 1 else None)
    ids = [getattr(sample, 'sample_id', None) or getattr(sample, 'img_path', None) for sample in samples or ()]
    return [str(found) for found in ids if found is not None]
