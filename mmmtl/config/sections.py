"""The components that a config is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmmtl.registry import BY_KEY, DEFAULT_TYPES, SECTIONS, Component
from mmmtl.utils.trees import items, join


def components(config: Mapping) -> Iterator[Component]:
    """All components of a config, section by section."""
    for section in [s for s in SECTIONS if config.get(s) is not None]:
        value, kind = config[section], DEFAULT_TYPES.get(section)
        if section == 'train_cfg' and isinstance(value, Mapping):
            kind = 'EpochBasedTrainLoop' if value.get('by_epoch', True) else 'IterBasedTrainLoop'
        yield from _walk(value, section, SECTIONS[section], kind, section in ('tasks', 'default_hooks'))


def _walk(value: Any, path: str, registry: Any, kind: Any = None, is_mapping: bool = False) -> Iterator[Component]:
    """Components inside ``value``; in a mapping every entry must be one."""
    here = None
    if isinstance(value, Mapping) and not is_mapping and (kind is not None or 'type' in value):
        here = Component(path, value, registry, value.get('type', kind))
        yield here
    for key, item in items(value):
        below = registry
        if isinstance(value, Mapping) and isinstance(item, (Mapping, list, tuple)) and not is_mapping:
            below = here.registry_of(key) if here else BY_KEY.get(key, registry)
        if is_mapping and isinstance(item, Mapping) and 'type' not in item:
            yield Component(join(path, key), item, below, None)
        if below is not None:
            yield from _walk(item, join(path, key), below, is_mapping=key == 'tasks' and not is_mapping)


def anywhere(path: str, config: Mapping) -> Component:
    """The component of a mapping outside the sections (``train_pipeline.0``): of the first registry with its type."""
    found = [Component(path, config, r, config['type']) for r in dict.fromkeys([*SECTIONS.values(), *BY_KEY.values()])]
    return next((c for c in found if c.resolve() is not None), found[0])
