"""Packaging of mmmtl: ``pip install -e .`` for work, ``pip wheel .`` for a release.

Nothing that has to be installed first is imported here, so that an isolated build works.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
NOT_IN_ALL = ('balancing-gpl', 'heif', 'loggers', 'tests', 'docs')
EXTRAS = (
    'mmseg',
    'app',
    'diffusion',
    'text',
    'tensorboard',
    'export',
    'sweep',
    'loggers',
    'balancing',
    'balancing-gpl',
    'datasets',
    'heif',
    'completion',
    'large',
    'hub',
    'tests',
    'docs',
)
MIM_FOLDERS = ('configs', 'tools')
MIM_FILES = ('model-index.yml',)


def read_version() -> str:
    """Return the version without importing the package."""
    text = (ROOT / 'mmmtl' / 'version.py').read_text(encoding='utf-8')
    return text.partition("__version__ = '")[2].partition("'")[0]


def read_requirements(name: str) -> list[str]:
    """Return the requirements of ``requirements/NAME.txt``, one a line, comments removed."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line.split('#')[0].strip() for line in lines if line.split('#')[0].strip()]


def read_readme() -> str:
    """Return the long description; empty in a tree without README."""
    readme = ROOT / 'README.md'
    return readme.read_text(encoding='utf-8') if readme.exists() else ''


def add_mim_folder(argv: list[str]) -> None:
    """Fill ``mmmtl/.mim``, where OpenMMLab's tools look for an installed package's configs and tools.

    An editable install gets relative links, so that edits are seen; a wheel or sdist gets copies. pip 25 and
    newer call ``setup.py`` with ``editable_wheel`` where older ones used ``develop``: both mean editable.
    """
    editable = 'develop' in argv or 'editable_wheel' in argv
    if not editable and not {'sdist', 'bdist_wheel', 'build', 'install'} & set(argv):
        return
    target = ROOT / 'mmmtl' / '.mim'
    target.mkdir(parents=True, exist_ok=True)
    for name in (*MIM_FOLDERS, *MIM_FILES):
        source, link = ROOT / name, target / name
        if not source.exists():
            continue
        if link.is_symlink() or link.is_file():
            link.unlink()
        elif link.is_dir():
            shutil.rmtree(link)
        if editable:
            try:
                link.symlink_to(os.path.relpath(source, target), target_is_directory=source.is_dir())
                continue
            except OSError as error:  # a Windows account without the right to make links
                print(f'cannot link {link} ({error}); copying instead', file=sys.stderr)
        if source.is_dir():
            shutil.copytree(source, link, ignore=shutil.ignore_patterns('__pycache__', '*.pyc'))
        else:
            shutil.copyfile(source, link)


if __name__ == '__main__':
    add_mim_folder(sys.argv[1:])
    extras = {name: read_requirements(name) for name in EXTRAS}
    extras['all'] = sorted({line for name in EXTRAS if name not in NOT_IN_ALL for line in extras[name]})
    setup(
        name='mmmtl',
        version=read_version(),
        description='Multi-task dense prediction with diffusion decoders, in the OpenMMLab way',
        long_description=read_readme(),
        long_description_content_type='text/markdown',
        license='Apache-2.0',
        license_files=['LICENSE'],
        keywords='computer vision, multi-task learning, dense prediction, diffusion, partial labels',
        packages=find_packages(include=['mmmtl', 'mmmtl.*']),
        package_data={'mmmtl': ['py.typed', 'analysis/report.html', 'commands/templates/*.in', 'hub/weights/*/*/*']},
        include_package_data=True,
        entry_points={'console_scripts': ['mmmtl = mmmtl.commands:main']},
        python_requires='>=3.10',
        install_requires=read_requirements('runtime'),
        extras_require=extras,
        zip_safe=False,
        classifiers=[
            'Development Status :: 4 - Beta',
            'Intended Audience :: Science/Research',
            'Operating System :: OS Independent',
            'License :: OSI Approved :: Apache Software License',
            *(f'Programming Language :: Python :: 3.{minor}' for minor in range(10, 15)),
            'Topic :: Scientific/Engineering :: Artificial Intelligence',
        ],
    )
