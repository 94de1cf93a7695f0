"""Reading a configuration file so that one change in one place is enough."""

from __future__ import annotations

import copy
import os.path as osp
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmmtl.errors import ConfigError, suggest

from .modules import register_all_modules
from .options import check_options, find_copies, forget_names, keep_tasks, put_copies
from .schema import section_keys
from .sources import assignments, follow_changes

_SECTIONS = section_keys() - {'tasks', 'data_root', 'label_sampler', 'vis_backends'}
"""Sections are never followed: after ``test_dataloader = val_dataloader`` the two go their own ways."""


def load_config(path: str | Path | Config, cfg_options: Mapping[str, Any] | None = None) -> Config:
    """Read a classic Python config and apply options to it.

    A config keeps what several sections share once at the top level: ``tasks``, ``data_root``,
    ``label_sampler``, ``max_iters``, ``crop_size``, or any other name that is not a section. When an option
    changes such a name, everything that the files compute from it follows, and so does every key of the
    same name that held the same value; what another file or option has overridden stays.

    ``only_tasks=['depth']``, as an option or in the file, keeps these tasks alone: a single-task baseline of
    any config. Arguments that name a dropped task become None, or lose the name from their list.

    Args:
        path: A ``.py`` config file, or a config that has been read already.
        cfg_options: ``{'model.decoder.steps': 1, ...}``; a key that names no place in the config is an error.

    Returns:
        The config.

    Raises:
        ConfigError: Missing file (with near ones), unknown option (with near names), unknown task in
            ``only_tasks``.
    """
    cfg = copy.deepcopy(path) if isinstance(path, Config) else _read(str(path))
    options = dict(cfg_options or {})
    import_custom_modules(cfg)
    register_all_modules(init_default_scope=False)
    if options:
        check_options(cfg._cfg_dict, options)
    before = copy.deepcopy({k: v for k, v in cfg.items() if k != 'only_tasks'})
    try:
        cfg.merge_from_dict(options)
    except (KeyError, TypeError, IndexError) as error:
        raise ConfigError(f'--cfg-options {options}: {error}') from error
    if cfg.get('only_tasks'):
        cfg.tasks = keep_tasks(cfg.get('tasks') or {}, cfg.only_tasks)
    spread(cfg, before)
    dropped = set(before.get('tasks') or {}) - set(cfg.get('tasks') or {})
    for section in (name for name in list(cfg.keys()) if name != 'tasks' and dropped):
        cfg[section] = forget_names(cfg[section], dropped)
    return cfg


def spread(cfg: Config, before: Mapping[str, Any]) -> dict[str, list[str]]:
    """Carry top-level values that changed to wherever the files use them.

    Args:
        cfg: The config after its options; edited in place.
        before: Its top-level values before the options.

    Returns:
        ``{changed name: paths that followed}``.

    Raises:
        ConfigError: A changed name that no section uses.
    """
    changed = {name for name, old in before.items() if name in cfg and cfg[name] != old and name not in _SECTIONS}
    if not changed:
        return {}
    copies = {name: find_copies(before, name) for name in changed}
    written = assignments(cfg.filename) if cfg.filename and osp.isfile(cfg.filename) else []
    followed = follow_changes(cfg, before, written, changed, _SECTIONS)
    for name in changed:
        followed.setdefault(name, [])
        followed[name] += put_copies(cfg, name, before[name], copies[name])
        if not followed[name] and name not in section_keys():
            raise ConfigError(
                f"--cfg-options: changing '{name}' has no effect: nothing in {cfg.filename} is computed from it. "
                f'Set the place itself (tools/misc/print_config.py shows them all).'
            )
    return followed


def _read(path: str) -> Config:
    """Read a file; a missing one is reported with near names."""
    if not osp.isfile(path):
        folder = Path(path).parent
        near = (
            suggest(Path(path).name, [p.name for p in folder.glob('*.py')])
            if folder.is_dir()
            else (f' There is no folder {folder} either.')
        )
        raise ConfigError(f"config '{path}' does not exist.{near}")
    if not path.endswith('.py'):
        raise ConfigError(f"config '{path}' must be a .py file")
    try:
        return Config.fromfile(path, import_custom_modules=False)
    except (KeyError, AttributeError, TypeError, NameError) as error:  # mmengine does not say in which file
        raise ConfigError(f"config '{path}' can't be read: {type(error).__name__}: {error}") from error


def import_custom_modules(cfg: Mapping) -> None:
    """Import what ``custom_imports`` names.

    Raises:
        ConfigError: A module that cannot be imported, unless ``allow_failed_imports`` is set.
    """
    wanted = cfg.get('custom_imports')
    if not wanted:
        return
    from mmengine.utils import import_modules_from_strings

    try:
        import_modules_from_strings(**wanted)
    except ImportError as error:
        raise ConfigError(
            f'custom_imports={dict(wanted)}: {error}. The module must be importable: installed, or its folder '
            f'on PYTHONPATH.'
        ) from error
