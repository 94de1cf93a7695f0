"""Published JTR checkpoints → this package's names."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmmtl.models.converter import Converter
from mmmtl.registry import CONVERTERS
from mmmtl.utils.renaming import rename_state

_NETWORK = 'decoder.network'


def _rules(home: str) -> list[tuple[str, str | None]]:
    """Rules for the levels of a SegNet, whose levels 2 to 4 count their later units."""
    rules: list[tuple[str, str | None]] = []
    for i, part in enumerate(('conv', 'norm')):
        rules += [
            (rf'(encoder|decoder)_block\.(\d)\.{i}\.(\w+)', rf'{home}\1.\2.0.{part}.\3'),
            (rf'conv_block_(enc|dec)\.(\d)\.{i}\.(\w+)', rf'{home}\1oder.\2.1.{part}.\3'),
            (rf'conv_block_(enc|dec)\.(\d)\.0\.{i}\.(\w+)', rf'{home}\1oder.\2.1.{part}.\3'),
            (rf'conv_block_(enc|dec)\.(\d)\.1\.{i}\.(\w+)', rf'{home}\1oder.\2.2.{part}.\3'),
        ]
    return rules


NETWORK_RULES = [*_rules(f'{_NETWORK}.'), (r'pred_layer\.(.+)', rf'{_NETWORK}.head.\1'), (r'batchnorm\..+', None)]


def convert(state: Mapping[str, Tensor], names: Mapping[str, str]) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Rename a published state dict, of the host or of the autoencoder; see :func:`~mmmtl.utils.renaming.rename_state`.

    The host numbers its heads in the order of the tasks, and carries a third one also where there are two.
    """
    if any(key.endswith('pred_layer.1.weight') for key in state):
        return rename_state(state, NETWORK_RULES, names)
    heads = [
        (rf'pred_task{i}\.(.+)', rf'decoder.decoder.heads.{n}.\1')
        for i, n in enumerate(dict.fromkeys(names.values()), 1)
    ]
    rules = [*_rules('backbone.'), *heads, (r'pred_task\d\..+|logsigma', None)]
    return rename_state(state, rules, {})


@CONVERTERS.register_module('jtr')
class JTRConverter(Converter):
    """Reads the published JTR checkpoints: the host, whose training alone needs the autoencoder, or the latter."""

    parts = (('backbone.', 'decoder.decoder.'), (f'{_NETWORK}.',))

    convert = staticmethod(convert)
