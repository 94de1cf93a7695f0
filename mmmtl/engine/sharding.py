"""Training with parameters, gradients and optimiser states sharded over processes (FSDP), for networks of real size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from mmengine.registry import FUNCTIONS, STRATEGIES
from torch import Tensor, nn
from torch.distributed.fsdp import FullyShardedDataParallel

from mmmtl.engine.runners import own_name
from mmmtl.errors import ConfigError
from mmmtl.registry import OPTIM_WRAPPERS


def _whole() -> dict[str, Any]:
    """Whole states, gathered in the first process."""
    # on a CPU there is nothing to offload, and PyTorch 2.14 would write one moment of Adam over the other
    options = dict(offload_to_cpu=get_device() != 'cpu', rank0_only=True)
    return dict(
        state_dict_type='FULL_STATE_DICT',
        state_dict_config=dict(type='FullStateDictConfig', **options),
        optim_state_dict_config=dict(type='FullOptimStateDictConfig', **options),
    )


@FUNCTIONS.register_module(force=True)
def wrap_blocks(
    module: nn.Module,
    recurse: bool,
    nonwrapped_numel: int,
    blocks: Sequence[str] = ('ResnetBlock2D', 'BasicTransformerBlock'),
) -> bool:
    """Shard every block of these classes by itself; what lies between them is one more shard.

    A block must be called through its ``forward``: its parameters are together only while that runs.

    Args:
        module, recurse, nonwrapped_numel: As FSDP asks.
        blocks: Names of classes.
    """
    return True if recurse else type(module).__name__ in blocks and any(p.requires_grad for p in module.parameters())


@STRATEGIES.register_module(force=True)
class ShardingStrategy(FSDPStrategy):
    """mmengine's FSDP strategy with whole checkpoints like those of other runs; also on CPUs, over gloo.

    Args:
        model_wrapper: Options of ``MMFullyShardedDataParallel``; default: one shard per block (:func:`wrap_blocks`).
        state_dict_cfg: Default: whole checkpoints, gathered in the memory of the first process's CPU.
        **kwargs: As mmengine's.
    """

    _timestamp: str

    def __init__(self, *, model_wrapper: dict | None = None, state_dict_cfg: Any = None, **kwargs: Any) -> None:
        wrapper = dict(
            type='MMFullyShardedDataParallel', use_orig_params=True, auto_wrap_policy=dict(type='wrap_blocks')
        )
        wrapper.update(model_wrapper or {})
        super().__init__(model_wrapper=wrapper, state_dict_cfg=state_dict_cfg or _whole(), **kwargs)

    def _setup_env(self, **kwargs: Any) -> None:
        super()._setup_env(**kwargs)
        self._timestamp = own_name(self._work_dir, self._timestamp)

    def _setup_distributed(self, *args: Any, **kwargs: Any) -> None:
        if not dist.is_initialized():  # without a GPU the process group is there already
            super()._setup_distributed(*args, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        if get_device() == 'cpu':
            self.model_wrapper['device_id'] = torch.device('cpu')
        return super()._wrap_model(model)

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimiser's state (mmengine's own passes PyTorch 1's order of arguments)."""
        optimizer = self.optim_wrapper.optimizer
        self.optim_wrapper.load_state_dict(
            FullyShardedDataParallel.optim_state_dict_to_load(self.model, optimizer, state_dict)
        )


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor that may be sharded; shares its memory."""
    return tensor.to_local() if hasattr(tensor, 'to_local') else tensor


@OPTIM_WRAPPERS.register_module()
class ShardedOptimWrapper(OptimWrapper):
    """``OptimWrapper`` whose clipping sees the gradients of all shards: a process holds a part of each.

    Args:
        **kwargs: Those of ``OptimWrapper``; of ``clip_grad`` ``max_norm``, with the norm of order 2.

    Raises:
        ConfigError: Another kind of clipping.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        clip = self.clip_grad_kwargs or {}
        if set(clip) - {'max_norm', 'norm_type'} or clip.get('norm_type', 2) != 2:
            raise ConfigError(f'ShardedOptimWrapper clips by max_norm of order 2 alone, got clip_grad={clip}')

    def _clip_grad(self) -> None:
        held = [local(p.grad) for g in self.optimizer.param_groups for p in g['params'] if p.grad is not None]
        parts = [g.detach().float().square().sum() for g in held if g.numel()]
        device = held[0].device if held else torch.device(get_device())
        total = torch.stack(parts).sum() if parts else torch.zeros((), device=device)
        if dist.is_initialized():
            dist.all_reduce(total)
        norm = total.sqrt()
        factor = (self.clip_grad_kwargs['max_norm'] / (norm + 1e-6)).clamp(max=1.0)
        for gradient in held:
            gradient.mul_(factor.to(gradient.dtype))
        self.message_hub.update_scalar(f'train/{self.grad_name}', float(norm))
