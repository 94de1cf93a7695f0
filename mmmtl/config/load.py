"""A configuration with options: one change in one place is enough, and no value is ignored in silence."""

from __future__ import annotations

import copy
import difflib
import functools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.utils import import_modules_from_strings

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import LATE, MEANT, register_all_modules
from mmmtl.utils.config_files import ConfigFile, OrderedConfig
from mmmtl.utils.shipped import find_config
from mmmtl.utils.trees import deal_among_all, plain, put, without_tasks

from .options import check_options, spell_out


def load_config(path: str | Path | Config, cfg_options: Mapping[str, Any] | None = None) -> Config:
    """Read a classic Python config and apply options to it.

    A config keeps what several sections share once at the top level: ``tasks``, ``data_root``, ``max_iters``,
    ``crop_size``, or any other name that is not a section. An option on such a name, or a child config that sets it
    anew, is written right after the file's own assignment, so that everything computed from it follows. Options
    inside sections (``model.decoder.steps=1``) are merged afterwards.

    ``only_tasks=['depth']``, as an option or in the file, keeps these tasks alone: a single-task baseline of
    any config. Arguments that name a dropped task become None, or lose the name from their list.

    Args:
        path: A ``.py`` config file, ``mmmtl::FOLDER/NAME`` for a shipped one, or a config that has been read already.
        cfg_options: ``{'model.decoder.steps': 1, ...}``.

    Returns:
        The config.

    Raises:
        ConfigError: A file that is missing or cannot be run, an unknown option, one that has no effect, a misspelt
            name in a file, an unknown task in ``only_tasks``; with near names.
    """
    options = dict(cfg_options or {})
    if isinstance(path, Config):
        return _change(path, options)
    file = ConfigFile(find_config(str(path)))
    before = file.values()
    _import_modules(before)
    register_all_modules(set_scope=False)
    _check_names(file)
    options = spell_out(before, options)
    check_options(before, options)
    assigned = {name for part in file.chain() for name in part.names} - LATE
    early = {key: value for key, value in options.items() if key.partition('.')[0] in assigned}
    only = options.get('only_tasks', before.get('only_tasks'))
    whole = file.values(_writes(early, None))
    tasks = whole.get('tasks') or {}
    for name in [only] if isinstance(only, str) or only in ([], ()) else only or ():  # none is no choice
        if not name or name not in tasks:
            raise ConfigError(f'only_tasks={only}: name some of the tasks {list(tasks)}.{suggest(str(name), tasks)}')
    values = file.values(_writes(early, only))
    _check_effect(file, before, values, early, only)
    values = _put_all(values, {key: value for key, value in options.items() if key not in early})
    if only:
        dropped = set(tasks) - set(_chosen(tasks, only))
        values = deal_among_all(without_tasks(values, dropped, tasks), whole, dropped)
    _import_modules(values)
    cfg = OrderedConfig(plain(values), cfg_text=Path(file.path).read_text(encoding='utf-8'), filename=file.path)
    super(Config, cfg).__setattr__('_options', copy.deepcopy(options))
    return cfg


def _change(cfg: Config, options: Mapping[str, Any]) -> Config:
    """A changed copy of a config that has been read already."""
    given = getattr(cfg, '_options', {})
    if not options:
        return copy.deepcopy(cfg)
    if cfg.filename and Path(cfg.filename).is_file() and load_config(cfg.filename, given)._cfg_dict == cfg._cfg_dict:
        return load_config(cfg.filename, {**given, **options})
    values = cfg._cfg_dict.to_dict()
    options = spell_out(values, options)
    check_options(values, options)
    if shared := {key.partition('.')[0] for key in options} - (MEANT - {'tasks', 'only_tasks'}):
        raise ConfigError(
            f'--cfg-options: {", ".join(sorted(shared))}: this config has been read and changed already, and what its '
            f'file computes from these names would not follow. Give the option when the file is read.'
        )
    return OrderedConfig(plain(_put_all(values, options)), filename=cfg.filename)


def _put_all(values: Any, options: Mapping[str, Any]) -> Any:
    """Values with options merged into them."""
    for key, value in options.items():
        values = put(values, key.split('.'), value)
    return values


def _writes(early: Mapping[str, Any], only: Any) -> dict[str, Any]:
    """What becomes of top-level names: ``{name: functions to apply after each assignment}``."""
    writes: dict[str, Any] = {}
    for key, value in early.items():
        name, *path = key.split('.')
        writes[name] = (*writes.get(name, ()), functools.partial(put, path=path, value=value))
    if only:
        writes['tasks'] = (*writes.get('tasks', ()), functools.partial(_chosen, only=only))
    return writes


def _check_effect(file: ConfigFile, before: Mapping, values: Mapping, early: Mapping[str, Any], only: Any) -> None:
    """Refuse an option on a shared name that the files write over, or from which nothing that is used is computed."""
    inner = {name for part in file.chain() for name in part.reads} - MEANT
    for key, value in early.items():
        name = key.partition('.')[0]
        inside = any(other.startswith(f'{key}.') for other in early)  # has the last word there
        if not inside and plain(put(values, key.split('.'), value)) != plain(values):
            raise ConfigError(f"--cfg-options: '{key}' has no effect: {file.path} or a base of it writes over it.")
        if name in MEANT or before.get(name) == values.get(name):
            continue
        without = file.values(_writes({k: v for k, v in early.items() if k.partition('.')[0] != name}, only))
        if all(plain(values.get(k)) == plain(without.get(k)) for k in {*values, *without} - inner - {name}):
            raise ConfigError(
                f"--cfg-options: changing '{name}' has no effect: nothing in {file.path} is computed from it"
                f'{" beside the other options" if len(early) > 1 else ""}. Set the place itself '
                f'(tools/misc/print_config.py shows them all).'
            )


def _check_names(file: ConfigFile) -> None:
    """Refuse a top-level name that nothing reads and that is nearly one with a meaning; warn of the others."""
    chain = list(file.chain())
    if len(chain) == 1 and not file.reads & set(file.names):
        return  # a config written out whole: what its parts were made of stands beside them, read by nobody
    read = {name for part in chain for name in part.reads}
    assigned = {name for part in chain for name in part.names}
    for part in chain:
        for name, line in part.names.items():
            if name in MEANT or name in read or name.startswith('_'):
                continue
            known = MEANT | (assigned & read)
            if difflib.get_close_matches(name, known, n=1, cutoff=0.8):
                raise ConfigError(f"config '{part.path}', line {line}: nothing uses '{name}'.{suggest(name, known)}")
            print_log(f"{part.path}, line {line}: nothing in the config uses '{name}'", 'current', logging.WARNING)


def _import_modules(values: Mapping) -> None:
    """Import what ``custom_imports`` names."""
    wanted = values.get('custom_imports')
    try:
        import_modules_from_strings(**(wanted or dict(imports=None)))
    except (ImportError, TypeError) as error:
        raise ConfigError(
            f'custom_imports={wanted}: {error}. The module must be importable: installed, or its folder on PYTHONPATH.'
        ) from error


def _chosen(tasks: Mapping[str, Any], only: Sequence[str] | str) -> dict[str, Any]:
    """The tasks named in ``only``, in their order; of part of the tasks, as in a child config, those that are there."""
    names = [only] if isinstance(only, str) else list(only)
    return {name: task for name, task in tasks.items() if name in names}
