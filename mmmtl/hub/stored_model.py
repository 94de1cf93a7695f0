"""A network's configuration as ``config.json``: data alone, whose every type is looked up in a closed list."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine import registry as mmengine_registry
from mmengine.config import Config

from mmmtl.compat import enable_mmseg
from mmmtl.config.check import check_config
from mmmtl.errors import CheckpointError, ConfigError, FileError, suggest
from mmmtl.inference.preparation import photograph_pipeline
from mmmtl.models.sizes import training_size
from mmmtl.registry import METRICS, MODELS, TASKS, TRANSFORMS, register_all_modules
from mmmtl.utils.files import read_json
from mmmtl.version import __version__

FORMAT = 1
"""Version of the form of ``config.json``; a newer one is refused."""
NEEDED = ('mmmtl_format', 'model')
KNOWN = (*NEEDED, 'mmmtl_version', 'name', 'about', 'infer_pipeline', 'training_size', 'licences')
READS = (
    'checkpoint checkpoint_path pretrained_cfg pretrained_cfg_overlay cache_dir pretrained_unet single_stream'.split()
)
"""Arguments by which a network would read another file or address; a stored network has its weights beside it."""
LONGEST = 100_000
"""Values in a ``config.json`` that are believed."""


def describe_model(cfg: Config, name: str | None, about: str, licences: Mapping[str, str]) -> dict[str, Any]:
    """What ``config.json`` holds of a network's config.

    Args:
        cfg: The config that the network was built from.
        name: Name of the shipped config, if it is one.
        about: What the network can and cannot do, in a sentence or two.
        licences: ``{'code': ..., 'weights': ..., 'data': ...}``.

    Raises:
        ConfigError: A value that JSON cannot hold.
    """
    size = cfg.get('training_size') or training_size(cfg)
    return dict(
        mmmtl_format=FORMAT,
        mmmtl_version=__version__,
        name=name,
        about=about,
        licences=dict(licences),
        model=_without_sources(_as_data(cfg.model, 'model')),
        infer_pipeline=_as_data(photograph_pipeline(cfg) or [dict(type='PackMTLInputs')], 'infer_pipeline'),
        training_size=None if size is None else list(size),
    )


def _as_data(value: Any, path: str) -> Any:
    """A value as JSON can hold it; a class that stands for its name becomes that name."""
    if isinstance(value, Mapping):
        wrong = [key for key in value if not isinstance(key, str)]
        if wrong:
            raise ConfigError(f'{path}: JSON has text as keys, found {wrong[0]!r}')
        return {key: _as_data(item, f'{path}.{key}') for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_data(item, f'{path}.{i}') for i, item in enumerate(value)]
    if isinstance(value, type) and path.endswith('.type'):
        name = next((n for r in _registries() for n, kind in r.module_dict.items() if kind is value), None)
        if name is not None:
            return name
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and value - value == 0:
        return value
    raise ConfigError(f'{path}={value!r:.80}: config.json is data: numbers, text, lists and mappings')


def _without_sources(model: dict[str, Any]) -> dict[str, Any]:
    """A model section that names no file or address to start from: its weights lie beside it."""
    for mapping in _mappings(model):
        for key in ('pretrained', *READS):
            if mapping.get(key) and not (key == 'pretrained' and isinstance(mapping[key], str)):
                mapping[key] = False if key == 'pretrained' else None
        mapping.pop('init_cfg', None)
    return model


def read_description(path: str | Path) -> dict[str, Any]:
    """Read and check a ``config.json``.

    Raises:
        FileError: No JSON, not of this package, of a newer form, or too long.
        CheckpointError: It names a type that is not registered, or lets the network read something else.
    """
    found = read_json(path, 'the config.json of a network of mmmtl')
    if not isinstance(found, dict) or any(key not in found for key in NEEDED) or not isinstance(found['model'], dict):
        keys = sorted(map(str, found))[:8] if isinstance(found, dict) else type(found).__name__
        raise FileError(f'{path}: expected the config.json of a network of mmmtl ({", ".join(NEEDED)}), found {keys}')
    if found['mmmtl_format'] != FORMAT:
        raise FileError(
            f'{path}: expected form {FORMAT}, found {found["mmmtl_format"]!r:.20} (written by mmmtl '
            f'{found.get("mmmtl_version")!r:.20}): a newer mmmtl reads it'
        )
    for key in found:
        if key not in KNOWN:
            raise FileError(f"{path}: unknown entry '{key:.60}'.{suggest(key, KNOWN)}")
    if not isinstance(found.get('infer_pipeline') or [], list) or not _is_size(found.get('training_size')):
        raise FileError(f'{path}: expected infer_pipeline as a list and training_size as [height, width]')
    _check_types(found, str(path))
    return found


def _is_size(value: Any) -> bool:
    return value is None or (
        isinstance(value, list) and len(value) == 2 and all(type(n) is int and n > 0 for n in value)
    )


def _check_types(found: Mapping[str, Any], path: str) -> None:
    """Refuse what is not in the registries by its plain name, before anything looks a type up."""
    known = _known_types()
    for number, mapping in enumerate(_mappings(dict(model=found['model'], steps=found.get('infer_pipeline') or []))):
        if number > LONGEST:
            raise FileError(f'{path}: more than {LONGEST} entries')
        if 'type' in mapping:
            kind = mapping['type']
            scope, _, plain = kind.rpartition('.') if isinstance(kind, str) else ('', '', '')
            if plain not in (_names_of_mmseg() if scope == 'mmseg' else known.get(scope, ())):
                raise CheckpointError(
                    f'{path}: type={kind!r:.80} is no registered component.{suggest(plain, known[""])} A type of a '
                    'plug-in is there once the plug-in is installed.'
                )
        for key in READS:
            if mapping.get(key):
                raise CheckpointError(
                    f'{path}: {key}={mapping[key]!r:.80}: a stored network reads nothing but model.safetensors: set it '
                    'to null'
                )
        if mapping.get('pretrained') is True or ':' in str(mapping.get('model_name', '')):
            raise CheckpointError(
                f'{path}: pretrained={mapping.get("pretrained")!r:.20}, model_name={mapping.get("model_name")!r:.80}: a '
                'stored network starts from nothing else'
            )


def _mappings(value: Any) -> Iterator[dict[str, Any]]:
    """All mappings within a value."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _mappings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _mappings(item)


def _registries() -> list[Any]:
    parents = (mmengine_registry.MODELS, mmengine_registry.TRANSFORMS, mmengine_registry.METRICS)
    return [MODELS, TASKS, TRANSFORMS, METRICS, *parents]


def _known_types() -> dict[str, set[str]]:
    """Names of registered components by scope; '' are those that need none."""
    register_all_modules(set_scope=False)
    known: dict[str, set[str]] = {'': set()}
    for registry in _registries():
        known[''] |= set(registry.module_dict)
        known.setdefault(registry.scope, set()).update(registry.module_dict)
    return known


def _names_of_mmseg() -> set[str]:
    """Names of mmsegmentation's models.

    Raises:
        ImportError: It is not installed; says how to.
    """
    enable_mmseg()
    import mmseg.models  # noqa: F401 - fills the registry
    from mmseg.registry import MODELS as models

    return set(models.module_dict)


def config_of(found: Mapping[str, Any]) -> Config:
    """The config that a checked description stands for, checked as any other before something is built.

    Raises:
        ConfigError: Arguments that a component does not take.
    """
    text = json.loads(json.dumps({key: found.get(key) for key in ('model', 'infer_pipeline', 'training_size')}))
    cfg = Config({key: value for key, value in text.items() if value is not None})
    check_config(cfg, parts=('model',), files=False)
    return cfg
