"""A loss or gradient that is not a number stops before it reaches the weights, with the task and samples named."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper
from torch import Tensor, nn

from mmmtl.errors import UserError
from mmmtl.registry import HOOKS
from mmmtl.utils.models import unwrap_model

COUNT_KEY = 'nonfinite_skipped'


class NonFiniteLossError(UserError, FloatingPointError):
    """A loss or a gradient became infinite or NaN; the message names the loss, the samples and what to do."""


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Checks the losses before the backward pass and the gradients before the step, on all ranks alike.

    Args:
        mode: ``'raise'`` stops training with :class:`NonFiniteLossError`. ``'skip'`` drops the batch: weights, the
            optimiser's state and the model's buffers (running statistics) stay as they were, the log repeats the last
            finite losses, a warning names the batch, and the number of skipped batches is kept (it is saved in
            checkpoints as ``nonfinite_skipped``). With gradient accumulation the other batches still count.
        check_gradients: Whether to look at the gradients too: an infinite derivative of a finite loss (a square root
            at 0, say) poisons the weights just as well. Costs one pass over the gradients per step.
        max_consecutive: In mode ``'skip'``, so many batches dropped in a row mean that training has diverged: raise.

    Raises:
        ValueError: The mode is unknown, or ``'skip'`` with loss scaling.
    """

    priority = 'HIGH'

    def __init__(self, mode: str = 'raise', check_gradients: bool = True, max_consecutive: int = 20):
        if mode not in ('raise', 'skip'):
            raise ValueError(f"NonFiniteLossHook: mode must be 'raise' or 'skip', got {mode!r}")
        self.mode, self.check_gradients, self.max_consecutive = mode, check_gradients, int(max_consecutive)
        self._handles: list[Any] = []
        self._runner: Any = None
        self._buffers: list[Tensor] = []
        self._last: dict[str, float] = {}
        self._samples: list[str] = []
        self._consecutive = 0

    def before_train(self, runner: Any) -> None:
        """Attach to the model's forward pass and to the optimiser's step."""
        model = unwrap_model(runner.model)
        if self.mode == 'skip' and isinstance(runner.optim_wrapper, AmpOptimWrapper):
            raise ValueError(
                "NonFiniteLossHook: mode='skip' cannot drop a batch from AmpOptimWrapper, whose loss "
                "scaling skips steps itself. Use mode='raise', or AutocastOptimWrapper (bfloat16)."
            )
        self._runner = runner
        self._handles = [model.register_forward_hook(self._after_forward, with_kwargs=True)]
        if self.mode == 'skip':
            self._handles.append(model.register_forward_pre_hook(self._before_forward))
        if self.check_gradients:
            wrappers = dict(runner.optim_wrapper.items()) if hasattr(runner.optim_wrapper, 'items') else {}
            for wrapper in wrappers.values() or [runner.optim_wrapper]:
                self._handles.append(wrapper.optimizer.register_step_pre_hook(self._before_step))

    def after_train(self, runner: Any) -> None:
        """Detach."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._runner, self._buffers = [], None, []

    # losses -------------------------------------------------------------------------------------------------------
    def _before_forward(self, model: nn.Module, args: tuple) -> None:
        """Keep a copy of the buffers: a NaN in the input is in the running statistics before it is in a loss."""
        if model.training:
            self._buffers = [buffer.detach().clone() for buffer in model.buffers()]

    def _after_forward(self, model: nn.Module, args: tuple, kwargs: dict, losses: Any) -> Any:
        """Check the losses of a training step; return their replacement where the batch is dropped."""
        if not model.training or not isinstance(losses, dict) or kwargs.get('mode', 'loss') != 'loss':
            return None
        values = {name: _total(value) for name, value in losses.items() if 'loss' in name}
        if not values:
            return None
        if self.check_gradients:  # for the report of the step that these samples lead to
            self._samples.extend(_sample_ids(args, kwargs))
        stacked = torch.stack([value.detach().float() for value in values.values()])
        wrong = (~torch.isfinite(stacked)).any().float()
        all_reduce(wrong, 'max')
        if not wrong.item():
            self._consecutive = 0
            if self.mode == 'skip':
                self._last = dict(zip(values, stacked.tolist()))
            return None
        found = dict(zip(values, stacked.tolist()))
        bad = [f'{name} is {value}' for name, value in found.items() if not math.isfinite(value)]
        self._report(', '.join(bad), _sample_ids(args, kwargs))
        with torch.no_grad():
            for buffer, saved in zip(model.buffers(), self._buffers):
                buffer.copy_(saved)
        # constants that need a gradient but reach no weight: the backward pass runs, and the weights get none
        return {name: stacked.new_tensor(self._last.get(name, 0.0)).requires_grad_() for name in losses}

    # gradients ----------------------------------------------------------------------------------------------------
    def _before_step(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        """Check the gradients, which are the same on all ranks by now; take them away where the step is dropped."""
        samples, self._samples = self._samples, []
        parameters = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
        if not parameters:
            return
        # the quickest look at all values; finite ones whose squares overflow (over 1e19) count as infinite
        norms = torch.stack([n.float() for n in torch._foreach_norm([p.grad for p in parameters])])
        finite = torch.isfinite(norms)
        if finite.all().item():
            return
        names = {id(p): name for name, p in self._runner.model.named_parameters()}
        bad = [names.get(id(p), '?') for p, ok in zip(parameters, finite.tolist()) if not ok]
        self._report(
            f'the gradients of {len(bad)} of {len(parameters)} weights are not finite (first: {bad[0]})', samples
        )
        for parameter in parameters:
            parameter.grad = None

    # words --------------------------------------------------------------------------------------------------------
    def _report(self, reason: str, samples: list[str]) -> None:
        """Raise, or count and warn, in the same way on every rank."""
        own = f'{reason} (samples: {", ".join(samples) or "unnamed"})' if reason else ''
        reports = all_gather_object(own)
        if get_world_size() > 1:
            reports = [f'rank {rank}: {text}' for rank, text in enumerate(reports) if text]
        place = f'Iteration {self._runner.iter + 1}: {"; ".join(reports)}.'
        self._consecutive += 1
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
