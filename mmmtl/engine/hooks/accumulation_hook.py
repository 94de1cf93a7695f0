"""Gradient accumulation that survives an interruption, and that agrees with who plans the batches."""

from __future__ import annotations

from typing import Any

from mmengine.dist import all_gather_object
from mmengine.hooks import Hook
from torch import Tensor

from mmmtl.engine.updates import batches_per_update
from mmmtl.errors import ConfigError
from mmmtl.registry import HOOKS
from mmmtl.utils.models import unwrap_model

KEY = 'gathered_gradients'


@HOOKS.register_module()
class AccumulationHook(Hook):
    """Keeps the gradients gathered so far in checkpoints that are saved between two updates.

    With ``accumulative_counts`` > 1 a checkpoint may fall between updates; a run resumed from it goes on bit for bit
    as the unbroken one. Checkpoints at updates hold nothing more than usual. In distributed runs every rank's own
    gradients are kept, which makes such a checkpoint large; on another number of ranks each goes on with their mean.

    Also refuses to train when a batch sampler that plans whole updates (``TaskCycleBatchSampler``) counts otherwise.
    """

    priority = 'VERY_LOW'

    def __init__(self) -> None:
        self._loaded: list[dict[str, Tensor]] | None = None
        self._gathered: list[dict[str, Tensor]] | None = None

    def before_train(self, runner: Any) -> None:
        """Compare the counts.

        Raises:
            ConfigError: They differ.
        """
        counts = batches_per_update(runner.optim_wrapper)
        planned = getattr(runner.train_dataloader.batch_sampler, 'accumulation', None)
        if planned is not None and planned != counts:
            raise ConfigError(
                f'train_dataloader.batch_sampler.accumulation = {planned}, but '
                f'optim_wrapper.accumulative_counts = {counts}: an update would mix tasks. Give both the '
                f'same number'
            )

    def before_train_epoch(self, runner: Any) -> None:
        """Put the loaded gradients back, once."""
        loaded, self._loaded = self._loaded, None
        if not loaded or runner.iter == 0:
            return
        parameters = dict(unwrap_model(runner.model).named_parameters())
        if len(loaded) == runner.world_size:
            own = loaded[runner.rank]
        else:  # the step averages over the ranks: the mean in each of them is what all together would have given
            names = dict.fromkeys(name for gradients in loaded for name in gradients)
            own = {n: sum(g[n].float() for g in loaded if n in g) / len(loaded) for n in names}  # type: ignore[misc]
        for name, gradient in own.items():
            parameters[name].grad = gradient.to(parameters[name])

    def _own(self, runner: Any) -> dict[str, Tensor]:
        """Gradients of this rank, empty right after an update."""
        wrapper = runner.optim_wrapper
        if getattr(wrapper, '_inner_count', 0) % getattr(wrapper, '_accumulative_counts', 1) == 0:
            return {}
        return {
            n: p.grad.detach().cpu() for n, p in unwrap_model(runner.model).named_parameters() if p.grad is not None
        }

    def before_checkpoint(self, runner: Any) -> None:
        """Bring the gradients of all ranks together; every rank calls this, just before rank 0 saves."""
        self._gathered = all_gather_object(self._own(runner))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Put the gradients into the checkpoint, if there are any."""
        gathered = self._gathered or [self._own(runner)]
        self._gathered = None
        if any(gathered):
            checkpoint[KEY] = gathered

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Keep the gradients until training starts."""
        self._loaded = checkpoint.get(KEY)
