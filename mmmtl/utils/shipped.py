"""Finding config files: by their path, or by the name under which a package ships them."""

from __future__ import annotations

import importlib.util
import os
import os.path as osp
from pathlib import Path

from mmmtl.errors import ConfigError, suggest


def configs_folder(package: str = 'mmmtl') -> Path:
    """``configs/`` of an installed package, or of its source tree."""
    spec = importlib.util.find_spec(package) if package.isidentifier() else None
    if spec is None or spec.origin is None:
        raise ConfigError(f"there is no package '{package}'")
    home = Path(spec.origin).parent
    for folder in (home / '.mim' / 'configs', home.parent / 'configs'):
        if folder.is_dir():
            return folder
    raise ConfigError(f"the package '{package}' ships no configs")


def name_of_config(path: str | None) -> str | None:
    """``FOLDER/NAME`` of a config that this package ships; None for any other file."""
    if not path:
        return None
    root, file = configs_folder().resolve(), Path(path).resolve()
    return file.relative_to(root).with_suffix('').as_posix() if root in file.parents else None


def find_config(name: str, folder: str = '') -> str:
    """Path of a config file.

    Args:
        name: A path, or ``PACKAGE::FOLDER/NAME`` for a config that an installed package ships; ``.py`` may be
            left out there, and the folder if only one of them has that name.
        folder: Relative paths begin here.

    Raises:
        ConfigError: No such file; with near names.
    """
    package, sign, inner = name.partition('::')
    if sign:
        root = configs_folder(package)
        known = {p.relative_to(root).with_suffix('').as_posix(): str(p) for p in sorted(root.rglob('*.py'))}
        wanted = inner.removesuffix('.py').removeprefix('configs/')
        found = [n for n in known if n == wanted] or [n for n in known if n.endswith(f'/{wanted}')]
        if len(found) == 1:
            return known[found[0]]
        near = f' Name the folder: {", ".join(found)}.' if found else suggest(wanted, known)
        raise ConfigError(f"config '{name}' does not name one of {len(known)} configs of {package}.{near}")
    path = osp.normpath(osp.join(folder, osp.expanduser(name)))
    if osp.isdir(path):
        inside = sorted(f for f in os.listdir(path) if f.endswith('.py'))
        raise ConfigError(f"config '{path}' is a folder; name a file of it: {', '.join(inside[:6]) or 'it holds none'}")
    if not osp.isfile(path):
        parent = Path(path).parent
        near = suggest(Path(path).name, (p.name for p in parent.glob('*.py')))
        if Path(configs_folder(), f'{name}.py').is_file():
            near = f' The shipped config of that name is mmmtl::{name}.'
        raise ConfigError(
            f"config '{path}' does not exist."
            + (near or ('' if parent.is_dir() else f' There is no folder {parent} either.'))
        )
    if not path.endswith('.py'):
        raise ConfigError(f"config '{path}' must be a .py file")
    return path
