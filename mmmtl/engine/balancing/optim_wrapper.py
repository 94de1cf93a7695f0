"""The optimiser wrapper that balances losses."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from mmengine.logging import print_log
from torch import Tensor, nn

from mmmtl.engine.optim_wrappers import AutocastOptimWrapper
from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import BALANCERS, OPTIM_WRAPPERS
from mmmtl.utils.models import unwrap_model

from .base import Balancer
from .losses import group_losses, shared_parameters, task_names


@OPTIM_WRAPPERS.register_module()
class BalancingOptimWrapper(AutocastOptimWrapper):
    """An ``OptimWrapper`` that sees every task's loss and lets a balancing method decide about them.

    Works with any model that names its losses ``loss_<task>`` (and ``<part>.loss_<task>``) and has ``tasks``.
    Losses of no task are added as they are. A method that weighs losses costs nothing; one that aggregates
    gradients takes one backward pass per task, keeps a gradient of the shared parameters per task, and adds
    up those of the others.

    With several processes or accumulated batches, methods see the mean losses and gradients of the whole
    update, so that the result is that of one process with the whole batch.

    Args:
        balancer: Config of the method.
        shared: Starts of the names of the shared parameters; default: every parameter whose name does not
            hold a task's.
        dtype: Of the forward pass, ``float32`` or ``bfloat16``; weights and gradients stay float32.
        **kwargs: ``optimizer``, ``accumulative_counts`` and ``clip_grad`` of ``OptimWrapper``.
    """

    def __init__(
        self,
        balancer: Mapping[str, Any] | Balancer,
        shared: Sequence[str] | None = None,
        dtype: str | torch.dtype = 'float32',
        **kwargs: Any,
    ) -> None:
        super().__init__(dtype=dtype, **kwargs)
        self.balancer: Balancer = BALANCERS.build(balancer) if isinstance(balancer, Mapping) else balancer
        self.shared = shared
        self._model: Any = None
        self._named: Mapping[str, Any] | None = None
        self._loaded: dict | None = None
        self._gathered: dict[str, Tensor] = {}
        self._finished: tuple[Tensor, Tensor, Tensor | None] | None = None

    # ---- losses one by one -------------------------------------------------------------------------------------------
    def _attach(self, model: nn.Module) -> None:
        """Listen to the losses of ``model``, which the training step hands on as one sum alone."""
        self._model = network = unwrap_model(model)
        names = task_names(network)
        parse = network.parse_losses

        def parse_and_keep(losses: Mapping[str, Any]) -> Any:
            self._named = losses
            return parse(losses)

        network.parse_losses = parse_and_keep
        self.balancer.setup(names, next(network.parameters()).device)
        if self._loaded is not None:
            self._restore(self._loaded)
        self._shared = shared_parameters(network, names, self.shared)
        if self.balancer.aggregates and not self._shared:
            raise ConfigError(
                f'BalancingOptimWrapper: no parameter starts with {self.shared}; there are '
                f'{sorted({n.partition(".")[0] for n, _ in network.named_parameters()})}'
            )
        self._layer = self._find_layer(getattr(self.balancer, 'layer', None)) if self.balancer.wants_norms else None

    def _find_layer(self, wanted: str | None) -> nn.Parameter:
        chosen = {n: p for n, p in self._shared.items() if (p.ndim > 1 if wanted is None else n.startswith(wanted))}
        if not chosen:
            raise ConfigError(
                f"{type(self.balancer).__name__}: no shared parameter starts with '{wanted}'."
                f'{suggest(str(wanted), self._shared)}'
            )
        return list(chosen.values())[-1]

    @property
    def _by_gradients(self) -> bool:
        """Whether single gradients are needed: to aggregate, or because weights depend on batches still to come."""
        return self.balancer.aggregates or (not self.balancer.foresees and self._accumulative_counts > 1)

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """As the base; single gradients are averaged over processes here and not by the model's wrapper."""
        if self._model is not unwrap_model(model):
            self._attach(model)
        with ExitStack() as stack:
            if self._by_gradients and hasattr(model, 'no_sync'):
                stack.enter_context(model.no_sync())
            stack.enter_context(super().optim_context(model))
            yield

    # ---- one batch ---------------------------------------------------------------------------------------------------
    def update_params(self, loss: Tensor, step_kwargs: dict | None = None, zero_kwargs: dict | None = None) -> None:
        """Backward for one batch, and a step when the update is complete.

        Args:
            loss: The sum of the losses, not used: the named ones are.
            step_kwargs: Of the optimiser's ``step``.
            zero_kwargs: Of its ``zero_grad``.
        """
        named, self._named = self._named, None
        if named is None:
            raise RuntimeError(
                'BalancingOptimWrapper saw no losses: the forward pass must run inside optim_context, '
                'and the model must call parse_losses'
            )
        grouped, rest = group_losses(named, self.balancer.names)
        device = loss.device
        losses = [grouped.get(n, torch.zeros((), device=device)) for n in self.balancer.names]
        share = self.scale_loss(torch.ones((), device=device))
        values = torch.stack([x.detach().float() for x in losses])
        if self._layer is not None:
            self._keep('layer', torch.stack([_gradient(x, [self._layer])[0] for x in losses]) * share)
        if self._by_gradients:
            self._gather_gradients(losses, rest, share)
            self._inner_count += 1
        else:
            self.backward(self._weighted(losses, values, rest) * share)
        self._keep('losses', values * share)
        if self.should_update():
            self._finish()
            self.step(**(step_kwargs or {}))
            self.zero_grad(**(zero_kwargs or {}))

    def _weighted(self, losses: list[Tensor], values: Tensor, rest: Tensor | None) -> Tensor:
        known = None
        if not self.balancer.foresees:
            known = _mean_over_ranks(values.clone())
        weights = self.balancer.weigh(known, None if known is None else known != 0)
        total = sum(w * x for w, x in zip(weights, losses))
        return total if rest is None else total + rest

    def _trainable(self) -> dict[str, nn.Parameter]:
        return {n: p for n, p in self._model.named_parameters() if p.requires_grad}

    def _keep(self, name: str, value: Tensor) -> None:
        self._gathered[name] = self._gathered[name] + value if name in self._gathered else value

    def _gather_gradients(self, losses: list[Tensor], rest: Tensor | None, share: Tensor) -> None:
        """Add this batch's gradients: per task for shared parameters, summed for all others.

        Where weights are still to come (no aggregation), all parameters have a gradient per task.
        """
        parameters = self._trainable()
        rows = self._shared if self.balancer.aggregates else parameters
        tail = [p for n, p in parameters.items() if n not in rows]
        matrix = []
        for x in losses:
            gradients = _gradient(x, [*rows.values(), *tail])
            matrix.append(torch.cat([g.flatten() for g in gradients[: len(rows)]]))
            _accumulate(tail, gradients[len(rows) :], share)
        self._keep('matrix', torch.stack(matrix) * share)
        if rest is not None and rest.requires_grad:
            every = list(parameters.values())
            _accumulate(every, _gradient(rest, every), share)

    # ---- one update --------------------------------------------------------------------------------------------------
    def _finish(self) -> None:
        """Bring ranks together, and decide."""
        losses = _mean_over_ranks(self._gathered['losses'])
        present = losses != 0
        norms = None
        if self._layer is not None:
            norms = _mean_over_ranks(self._gathered['layer']).flatten(1).norm(dim=1)
        if self._by_gradients:
            self._set_gradients(_mean_over_ranks(self._gathered['matrix']), losses, present)
        self._finished, self._gathered = (losses, present, norms), {}

    def step(self, **kwargs: Any) -> None:
        """As the base; then the method learns from the update, which by now has been found fit to learn from."""
        super().step(**kwargs)
        finished, self._finished = self._finished, None
        if finished is None:
            return
        if all(value is None or value.isfinite().all() for value in finished):
            self.balancer.learn(*finished)
        else:
            print_log(
                f'{type(self.balancer).__name__} does not learn from an update with losses {finished[0].tolist()} and '
                f'gradient norms {None if finished[2] is None else finished[2].tolist()}',
                logger='current',
                level=logging.WARNING,
            )

    def _set_gradients(self, matrix: Tensor, losses: Tensor, present: Tensor) -> None:
        parameters = self._trainable()
        for parameter in parameters.values():
            if parameter.grad is not None:
                _mean_over_ranks(parameter.grad)
        rows = self._shared if self.balancer.aggregates else parameters
        if not matrix.isfinite().all():  # no method can make something of it; the check of the gradients finds it
            direction = matrix.sum(0)
        elif self.balancer.aggregates:
            direction = self.balancer.aggregate(matrix[present])
        else:
            direction = self.balancer.weigh(losses, present) @ matrix
        parts = direction.split([p.numel() for p in rows.values()])
        _accumulate(list(rows.values()), [d.view_as(p) for d, p in zip(parts, rows.values())], 1.0)

    # ---- checkpoints -------------------------------------------------------------------------------------------------
    def state_dict(self) -> dict:
        """As the base, and the method's state.

        What is gathered between two updates goes along; of several processes that of the first alone: save at
        updates.
        """
        own = dict(balancer=self.balancer.state_dict(), gathered=dict(self._gathered), tasks=list(self.balancer.names))
        return {**super().state_dict(), **(own if self._loaded is None else self._loaded)}

    def load_state_dict(self, state_dict: dict) -> None:
        """As the base; the method's state is put back when the model is known."""
        state = dict(state_dict)
        loaded = {k: state.pop(k) for k in ('balancer', 'gathered', 'tasks') if k in state}
        super().load_state_dict(state)
        if loaded and self._model is None:
            self._loaded = loaded
        elif loaded:
            self._restore(loaded)

    def _restore(self, loaded: dict) -> None:
        self._loaded = None
        before, names = loaded.get('tasks') or self.balancer.names, self.balancer.names
        if before != names:
            raise ConfigError(
                f'the checkpoint has weights of losses for the tasks {before}, and the model has {names}: name the tasks alike '
                'and in the same order'
            )
        try:
            self.balancer.load_state_dict(loaded['balancer'])
        except RuntimeError as error:
            raise ConfigError(
                f'the checkpoint was trained with another balancing method than {type(self.balancer).__name__}: {error}'
            ) from error
        device = next(self._model.parameters()).device
        self._gathered = {k: v.to(device) for k, v in loaded.get('gathered', {}).items()}


def _gradient(loss: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of one of several losses of a graph; zeros where there is no path."""
    if not loss.requires_grad:
        return [torch.zeros_like(p) for p in parameters]
    found = torch.autograd.grad(loss, list(parameters), retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters)]


def _accumulate(parameters: Sequence[Tensor], gradients: Sequence[Tensor], factor: Tensor | float) -> None:
    for parameter, gradient in zip(parameters, gradients):
        gradient = gradient * factor
        parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient


def _mean_over_ranks(value: Tensor) -> Tensor:
    """In place."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value
