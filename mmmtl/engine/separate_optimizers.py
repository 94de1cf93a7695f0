"""Several optimisers in one step, each for parameters of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn
from torch.optim import Optimizer

from mmmtl.errors import ConfigError
from mmmtl.registry import OPTIM_WRAPPER_CONSTRUCTORS, OPTIMIZERS


class CombinedOptimizer(Optimizer):
    """Optimisers that step together; to schedules and clipping they are one, with the parameter groups of all.

    Args:
        optimizers: The optimisers, with different parameters.
    """

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        super().__init__([group for o in optimizers for group in o.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        """A change of a group's learning rate reaches the optimiser that reads it."""
        self.param_groups = [group for o in self.optimizers for group in o.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each."""
        loss = None if closure is None else closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        return {'optimizers': [o.state_dict() for o in self.optimizers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, state_dict['optimizers']):
            optimizer.load_state_dict(state)
        self._share_groups()


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SeparateOptimizersConstructor(DefaultOptimWrapperConstructor):
    """The usual constructor, with optimisers of their own for some parameters.

    All of them follow the schedule, and clipping looks at all gradients together.

    Args:
        optim_wrapper_cfg: Config of the optimiser wrapper.
        paramwise_cfg: That of mmengine's ``DefaultOptimWrapperConstructor``, and ``separate``: ``{part of a parameter's
            name: config of its optimiser}``; of several parts in one name the first counts.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None) -> None:
        options = dict(paramwise_cfg or {})
        self.separate = dict(options.pop('separate', {}))
        super().__init__(optim_wrapper_cfg, options or None)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """The wrapper of all optimisers.

        Raises:
            ConfigError: A part of a name that no parameter has.
        """
        wrapper = super().__call__(model)
        optimizers: list[Optimizer] = []
        taken: set[int] = set()
        for part, config in self.separate.items():
            named = [p for name, p in model.named_parameters() if part in name and p.requires_grad]
            chosen = [p for p in named if id(p) not in taken]
            if not chosen:
                why = 'that no earlier part holds' if named else 'of those that are trained'
                raise ConfigError(f"optim_wrapper.paramwise_cfg.separate: no parameter's name holds '{part}', {why}")
            taken.update(map(id, chosen))
            for group in wrapper.optimizer.param_groups:
                group['params'] = [p for p in group['params'] if id(p) not in taken]
            optimizers.append(OPTIMIZERS.build(dict(config, params=chosen)))
        main = wrapper.optimizer
        main.param_groups = [group for group in main.param_groups if group['params']]
        wrapper.optimizer = CombinedOptimizer([main, *optimizers])
        return wrapper
