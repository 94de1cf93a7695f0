"""Training with every parameter sharded by itself (FSDP2, ``fully_shard``), and checkpoints in parts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mmengine
import torch.distributed as dist
from mmengine._strategy import DDPStrategy
from mmengine.device import get_device
from mmengine.model import is_model_wrapper
from mmengine.registry import STRATEGIES
from torch import Tensor, nn

from mmmtl.engine.checkpoint_files import plain
from mmmtl.errors import ConfigError
from mmmtl.utils.tensor_files import find_state

MODEL, OPTIMIZER = 'model.', 'optimizer.'
"""What the names of tensors begin with in a checkpoint."""

BLOCKS = ('ResnetBlock2D', 'BasicTransformerBlock', 'Block', 'SwinTransformerBlock')
"""Classes of blocks that are called through ``forward`` alone."""


def _fully_shard() -> Any:
    try:
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise ConfigError(
            f"strategy.type='FullyShardStrategy' needs torch >= 2.6: {error}. Use ShardingStrategy with this one"
        ) from error
    return fully_shard


def check_parts(strategy: Mapping[str, Any], wrapper: Mapping[str, Any], hooks: Sequence[Mapping[str, Any]]) -> None:
    """Refuse what needs whole parameters beside a strategy that shards them.

    Raises:
        ConfigError: ``EMAHook`` beside ``FullyShardStrategy``; gradients by task, or clipped by each process for itself.
    """
    kinds = [str(part.get('type')).rpartition('.')[2] for part in (strategy, *hooks)]
    own = str(wrapper.get('type')).rpartition('.')[2]
    needs = own == 'BalancingOptimWrapper' or (wrapper.get('clip_grad') and own != 'ShardedOptimWrapper')
    if kinds[0] in ('FullyShardStrategy', 'ShardingStrategy') and needs:
        raise ConfigError(
            f"optim_wrapper.type='{own}' looks at whole gradients, which strategy.type='{kinds[0]}' shards: take "
            "ShardedOptimWrapper, or train without runner_type='FlexibleRunner'"
        )
    if kinds[0] == 'FullyShardStrategy' and 'EMAHook' in kinds[1:]:
        raise ConfigError(
            "custom_hooks: EMAHook averages whole parameters, which strategy.type='FullyShardStrategy' shards: leave the "
            "hook out, or train without runner_type='FlexibleRunner'"
        )


@STRATEGIES.register_module(force=True)
class FullyShardStrategy(DDPStrategy):
    """Shards parameters, gradients and optimiser states one by one over all processes; also on CPUs, over gloo.

    Checkpoints are folders, ``iter_N.pth/``, to which every process writes what it holds, and from which any number of
    processes goes on; every command that reads weights takes one, and ``mmmtl publish`` makes one file of it.

    Use it with ``runner_type='FlexibleRunner'`` and ``ShardedOptimWrapper``.

    Args:
        blocks: Classes whose modules are gathered by themselves while they run; what lies between them is one more
            group. Such a module must be called through its ``forward``.
        reshard_after_forward: Free the gathered parameters of a block between its forward and its backward pass.
        **kwargs: As mmengine's.
    """

    def __init__(self, *, blocks: Sequence[str] = BLOCKS, reshard_after_forward: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.blocks, self.reshard = tuple(blocks), reshard_after_forward

    def _setup_distributed(self, *args: Any, **kwargs: Any) -> None:
        if not dist.is_initialized():  # without a GPU the process group is there already
            super()._setup_distributed(*args, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        from torch.distributed.device_mesh import init_device_mesh

        if is_model_wrapper(model):
            raise ConfigError(
                'FullyShardStrategy shards a plain network, not one in a wrapper: leave model_wrapper out'
            )
        fully_shard = _fully_shard()
        model = self.convert_model(model.to(get_device()))
        options = dict(
            mesh=init_device_mesh(get_device(), (dist.get_world_size(),)), reshard_after_forward=self.reshard
        )
        for module in model.modules():
            if type(module).__name__ in self.blocks and any(p.requires_grad for p in module.parameters()):
                fully_shard(module, **options)
        return fully_shard(model, **options)

    # ---- states ----------------------------------------------------------------------------------------------------
    def _optimizers(self) -> list[Any]:
        wrapper = self.optim_wrapper
        wrappers = dict(wrapper.items()).values() if hasattr(wrapper, 'items') else [wrapper]
        return [one.optimizer for one in wrappers]

    def _states(self, optimizer: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """Tensors of the network and the optimiser by their names in a checkpoint, and the optimiser's numbers."""
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            get_model_state_dict,
            get_optimizer_state_dict,
        )

        tensors = {f'{MODEL}{name}': value for name, value in get_model_state_dict(self.model).items()}
        if not optimizer:
            return tensors, {}
        flat = get_optimizer_state_dict(
            self.model, self._optimizers(), options=StateDictOptions(flatten_optimizer_state_dict=True)
        )
        tensors.update({f'{OPTIMIZER}{name}': value for name, value in flat.items() if isinstance(value, Tensor)})
        return tensors, {name: value for name, value in flat.items() if not isinstance(value, Tensor)}

    def save_checkpoint(
        self,
        filename: str,
        *,
        save_optimizer: bool = True,
        save_param_scheduler: bool = True,
        extra_ckpt: dict | None = None,
        callback: Callable | None = None,
    ) -> None:
        """Write the checkpoint's folder; every process calls this."""
        tensors, numbers = self._states(save_optimizer and hasattr(self, 'optim_wrapper'))
        rest: dict[str, Any] = dict(extra_ckpt or {})
        if save_param_scheduler and hasattr(self, 'param_schedulers'):
            rest['param_schedulers'] = self.scheduler_state_dict()
        rest['meta'] = dict(
            rest.get('meta') or {}, seed=self.seed, time=time.strftime('%Y%m%d_%H%M%S'), mmengine=mmengine.__version__
        )
        rest['optimizer_numbers'] = plain(numbers)
        if callback is not None:
            callback(rest)
        from mmmtl.engine.sharded_checkpoint import save_shards

        save_shards(filename, tensors, rest)

    def load_checkpoint(self, filename: str, *, callback: Callable | None = None, **kwargs: Any) -> dict:
        """Load the weights of a folder or of a file of another run; return everything else."""
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

        if not os.path.isdir(filename):
            from mmengine.runner.checkpoint import _load_checkpoint

            content = _load_checkpoint(filename, map_location='cpu')
            if callback is not None:
                callback(content)
            state = {name.removeprefix('module.'): value for name, value in find_state(content, filename).items()}
            content.pop('state_dict', None)
            set_model_state_dict(self.model, state, options=StateDictOptions(full_state_dict=True, strict=False))
            return content
        from mmmtl.engine.sharded_checkpoint import load_shards, read_rest

        content = read_rest(filename)
        if callback is not None:
            callback(content)
        tensors, _ = self._states(False)
        load_shards(filename, tensors)
        set_model_state_dict(self.model, {name[len(MODEL) :]: value for name, value in tensors.items()})
        self._from = filename
        content['optimizer'] = content.pop('optimizer_numbers', {})
        return content

    def load_optim_state_dict(self, state_dict: dict) -> None:
        """Load the optimiser's tensors from the folder that the weights came from, and its numbers from ``state_dict``.

        Raises:
            ConfigError: The weights came from a file, whose optimiser state is that of another strategy.
        """
        from torch.distributed.checkpoint.state_dict import StateDictOptions, set_optimizer_state_dict

        if getattr(self, '_from', None) is None:
            raise ConfigError(
                'FullyShardStrategy resumes from the folders that it writes, not from a file of another strategy: to start '
                'from its weights, give load_from instead of --resume'
            )
        from mmmtl.engine.sharded_checkpoint import load_shards

        tensors, _ = self._states(True)
        own = {name: value for name, value in tensors.items() if name.startswith(OPTIMIZER)}
        load_shards(self._from, own)
        flat = {**state_dict, **{name[len(OPTIMIZER) :]: value for name, value in own.items()}}
        set_optimizer_state_dict(
            self.model,
            self._optimizers(),
            optim_state_dict=flat,
            options=StateDictOptions(flatten_optimizer_state_dict=True),
        )
