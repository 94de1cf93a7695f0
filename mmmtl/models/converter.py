"""What a method's folder says about the published checkpoints of its authors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mmmtl.utils.renaming import rename_state, rename_without_class_token
from mmmtl.utils.tensor_files import read_published


class Converter:
    """Reads and renames the published checkpoints of one method.

    A converter is registered in ``CONVERTERS`` under the name of the method, which is also the folder of ``configs/`` with
    its experiments.

    Attributes:
        rules: See :func:`~mmmtl.utils.renaming.rename_state`.
        dead_class_token: Whether the position embedding begins with the slot of a class token that the network never had.
        variants: Options of these configs, of which a checkpoint may need any.
        parts: Prefixes of what is published in files of its own; such a file fills these parameters alone, all of them.
            Empty: a checkpoint fills the whole network.
        ordered: Whether the network depends on the order of its tasks (layers that take the channels of all in turn), which
            then must be the file's.
    """

    rules: Sequence[tuple[str, str | None]] = ()
    dead_class_token = False
    ordered = True
    variants: tuple[dict[str, Any], ...] = ({},)
    parts: tuple[tuple[str, ...], ...] = ()

    def published_part(self, state: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Prefixes of the parameters that a renamed state dict has to fill."""
        return next((part for part in self.parts if any(key.startswith(part) for key in state)), ('',))

    def read(self, path: str) -> dict[str, Tensor]:
        """The published state dict at ``path``."""
        return read_published(path)

    def convert(
        self, state: Mapping[str, Tensor], names: Mapping[str, str]
    ) -> tuple[dict[str, Tensor], list[str], list[str]]:
        """Rename a published state dict.

        Args:
            state: Published names → tensors.
            names: Published task names → names in the model.

        Returns:
            Renamed state dict, keys that were dropped on purpose, unknown keys.
        """
        rename = rename_without_class_token if self.dead_class_token else rename_state
        return rename(state, self.rules, names)
