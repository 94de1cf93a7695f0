"""Start a package of your own: ``mmmtl new task heat --package thermal``."""

from __future__ import annotations

import argparse
import keyword
from pathlib import Path

from mmmtl.utils.command_line import describe

TEMPLATES = Path(__file__).parent / 'templates'
KINDS = {  # what the small network of the package's config looks like
    'task': dict(decoder='PlainDecoder', decoder_options=', channels=24, num_blocks=1', other='scene_seed=1'),
    'dataset': dict(decoder='PlainDecoder', decoder_options=', channels=24, num_blocks=1', other="split='test'"),
    'decoder': dict(decoder='@Class@', decoder_options='', other='scene_seed=1'),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Write a package with one short class, a config that trains without any data, and a test that passes; or add '
        'them to a package that was started so.',
        config=False,
    )
    parser.add_argument('kind', choices=list(KINDS), help='what to write')
    parser.add_argument('name', help='in small letters: surface_heat becomes the class SurfaceHeat')
    parser.add_argument('--package', required=True, metavar='PKG', help='name of the package')
    parser.add_argument('--out', default='.', metavar='DIR', help='PKG becomes a folder of DIR (default: here)')


def run(args: argparse.Namespace) -> None:
    """Write, and say what to do next."""
    for path in write_package(args.kind, args.name, args.package, args.out):
        print(path)
    folder = Path(args.out) / args.package
    print(f'\npip install -e {folder}\nmmmtl train {folder}/configs/{args.name}.py')


def write_package(kind: str, name: str, package: str, folder: str | Path) -> list[Path]:
    """Write a component and what it needs around it.

    Args:
        kind: ``task``, ``dataset`` or ``decoder``.
        name: Name of the module, and in words of the class.
        package: Name of the package.
        folder: Where the package's folder lies or is made.

    Returns:
        The files that were written.

    Raises:
        InputError: A name that Python or the registry cannot take, or files that are there already.
    """
    from mmmtl.errors import InputError
    from mmmtl.utils.files import write_atomically

    for word in (name, package):
        if not word.isidentifier() or keyword.iskeyword(word) or word != word.lower() or word.startswith('_'):
            raise InputError(f"'{word}' must be a name of Python in small letters, like surface_heat")
    title = ''.join(part.capitalize() for part in name.split('_'))
    _check_free(title, package)
    words = {'package': package, 'name': name, **KINDS[kind], 'Class': title}
    words['loaders'] = (TEMPLATES / 'loaders.py.in').read_text(encoding='utf-8').rstrip()
    words['model'] = (TEMPLATES / 'model.py.in').read_text(encoding='utf-8').rstrip()
    words = {'loaders': words.pop('loaders'), 'model': words.pop('model'), **words}  # these hold words themselves
    home = Path(folder) / package
    init = home / package / '__init__.py'
    new = {
        home / package / f'{name}.py': f'{kind}.py.in',
        home / 'configs' / f'{name}.py': f'{kind}_config.py.in',
        home / 'tests' / f'test_{name}.py': 'test.py.in',
    }
    if taken := [str(path) for path in new if path.exists()]:
        raise InputError(f'{", ".join(taken)}: is there already; choose another name, or remove it')
    if home.exists() and not init.is_file():
        raise InputError(f'{home} is there already, and is no package: it has no {package}/__init__.py')
    if not home.exists():
        new.update({home / 'pyproject.toml': 'pyproject.toml.in', home / 'README.md': 'README.md.in'})
    for path, template in new.items():
        write_atomically(path, _filled((TEMPLATES / template).read_text(encoding='utf-8'), words))
    lines = init.read_text(encoding='utf-8') if init.is_file() else f'"""Components of {package} for mmmtl."""\n'
    parts = lines.rstrip().split('\n')
    imports = sorted(
        [*(part for part in parts if part.startswith('from .')), f'from .{name} import {title}  # noqa: F401']
    )
    rest = '\n'.join(part for part in parts if not part.startswith('from .')).rstrip()
    write_atomically(init, '\n'.join([rest, '', *imports, '']))
    return [*new, init]


def _check_free(title: str, package: str) -> None:
    """Raise InputError where a registry has a class of this name, or Python a package."""
    import importlib.util

    from mmmtl.errors import InputError
    from mmmtl.registry import DATASETS, MODELS, TASKS, register_all_modules

    register_all_modules(set_scope=False)
    for registry in (TASKS, DATASETS, MODELS):
        if title in registry.module_dict:
            raise InputError(f"there is a {registry.name} '{title}' already: choose another name")
    spec = importlib.util.find_spec(package)
    if package == 'mmmtl' or (spec is not None and spec.origin and 'site-packages' in spec.origin):
        raise InputError(f"there is a package '{package}' already: choose another name")


def _filled(text: str, words: dict[str, str]) -> str:
    """A template with its ``@words@`` filled in."""
    for word, value in words.items():
        text = text.replace(f'@{word}@', value)
    return text
