"""A config with the source of each of its values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmmtl.utils.config_files import ConfigFile
from mmmtl.utils.shipped import find_config
from mmmtl.utils.syntax import Source, sources
from mmmtl.utils.trees import items

from .load import load_config
from .options import spell_out


def config_with_sources(path: str | Path, cfg_options: Mapping[str, Any] | None = None) -> list[tuple[str, str, str]]:
    """Every value of a config and where it comes from.

    Returns:
        ``[(path, value, source)]`` in the order of the config. A value is its ``repr``, or ``= name`` where
        a whole container repeats a top-level one. A source is ``file:line``, with the names a value was
        computed from, or ``--cfg-options``.
    """
    before, cfg = load_config(path)._cfg_dict, load_config(path, cfg_options)._cfg_dict
    options = spell_out(before, cfg_options or {})
    chain = list(ConfigFile(find_config(str(path))).chain())
    shared = {name for file in chain for name in file.names}
    written = [s for file in chain for statement in file.tree.body for s in sources(statement, file.path, shared)]
    old, rows = dict(_leaves(before, (), written, before)), []
    for place, text in _leaves(cfg, (), written, cfg):
        key = '.'.join(place)
        source = next((s for s in reversed(written) if s.place == place[: len(s.place)]), Source((), 'the command', []))
        where = source.where + (f' ← {", ".join(source.names)}' if source.names else '')
        if any(f'{key}.'.startswith(f'{option}.') for option in options):
            where = '--cfg-options'
        elif old.get(place) != text:
            where = f'--cfg-options, by way of {where}'
        rows.append((key, text, where))
    return rows


def _leaves(node: Any, place: tuple[str, ...], written: list[Source], cfg: Mapping) -> Iterator[tuple[Any, str]]:
    """Values as text with their paths; a container that repeats a shared one counts as one value, ``= name``."""
    names = next((s.names for s in reversed(written) if s.place == place), [])
    entries = items(node)
    if place[1:] and len(names) == 1 and isinstance(node, (Mapping, list)) and cfg.get(names[0]) == node:
        yield place, f'= {names[0]}'
    elif entries and (isinstance(node, Mapping) or any(isinstance(value, Mapping) for _, value in entries)):
        for key, value in entries:
            yield from _leaves(value, (*place, str(key)), written, cfg)
    else:
        yield place, repr(node)
