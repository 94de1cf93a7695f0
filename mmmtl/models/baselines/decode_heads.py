"""A head per task that another package wrote: mmsegmentation's decode heads, or any with their arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.models.decoder import FeedForwardDecoder
from mmmtl.registry import MODELS


@MODELS.register_module()
class DecodeHeads(FeedForwardDecoder):
    """Per task a decode head of mmsegmentation (``mmseg.UPerHead``, ``mmseg.SegformerHead``, ...), with the task's loss.

    ``in_channels`` of the levels that ``in_index`` chooses (default: the last) and ``num_classes`` (the task's channels)
    are filled in. The heads' own losses are not used.

    Args:
        head: Config of every task's head; None where ``heads`` has one for every task.
        heads: ``{task: config of its head}``, in place of ``head``.
        loss_reduction: See :class:`~mmmtl.models.decoder.Decoder`.

    Raises:
        ConfigError: A task without a head, a head of no task, or a level that is not there.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        head: dict | None = None,
        heads: Mapping[str, dict] | None = None,
        loss_reduction: str = 'batch',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg, loss_reduction=loss_reduction)
        own = dict(heads or {})
        for name in own:
            if name not in self.tasks:
                raise ConfigError(f"model.decoder.heads: '{name}' is not a task.{suggest(name, self.tasks)}")
        lacking = [name for name in self.tasks if name not in own]
        if head is None and lacking:
            raise ConfigError(f'model.decoder: the tasks {lacking} have no head: give head, or heads of them')
        self.heads = nn.ModuleDict(
            {name: self._head(own.get(name) or head or {}, task.out_channels) for name, task in self.tasks.items()}
        )

    def _head(self, config: Mapping[str, Any], channels: int) -> nn.Module:
        """Build a head; names in a config of mmsegmentation mean its own classes."""
        chosen = config.get('in_index', -1)
        try:
            widths = (
                [self.in_channels[i] for i in chosen] if isinstance(chosen, (list, tuple)) else self.in_channels[chosen]
            )
        except IndexError as error:
            raise ConfigError(
                f'model.decoder: in_index={chosen}, but there are {len(self.in_channels)} levels'
            ) from error
        scope, _, _ = str(config.get('type', '')).rpartition('.')
        own = {'_scope_': scope} if scope and scope != 'mmmtl' else {}
        filled = dict(in_channels=widths, num_classes=channels)
        return MODELS.build({**filled, **config, **own})

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        return {name: head(feats) for name, head in self.heads.items()}
