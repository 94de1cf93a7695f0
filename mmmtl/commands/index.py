"""Write the index of a data set: ``mmmtl index CONFIG|DATA --out index.parquet``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe

from ._data import add_walk_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Write a row a sample: id, files, which labels exist, sizes. The config may also be a folder with images/ and a '
        'folder for each task. Started again, it goes on where it was stopped; an index that is there is refreshed.',
    )
    parser.add_argument('--out', required=True, metavar='FILE.parquet', help='the index')
    add_walk_arguments(parser)
    parser.add_argument('--values', action='store_true', help='also decode: sizes of images, what each label holds')
    parser.add_argument('--digest', action='store_true', help='also keep a digest of each file')


def run(args: argparse.Namespace) -> None:
    """Index."""
    from pathlib import Path

    from mmmtl.config import load_config
    from mmmtl.datasets.preparation.indexing import index_command
    from mmmtl.errors import ConfigError
    from mmmtl.registry import register_all_modules

    folder = Path(args.config).is_dir() or '://' in args.config
    register_all_modules()
    if folder and args.cfg_options:
        raise ConfigError(f"--cfg-options change a config, and '{args.config}' is data: leave them out")
    data = args.config if folder else load_config(args.config, args.cfg_options)
    index_command(data, args.out, args.splits, args.workers, args.values, args.digest)
