"""Decode every image and label of a config's data sets: ``mmmtl verify CONFIG``."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmmtl.utils.command_line import describe, natural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Report every bad file with task, expected and found. The config may also be an index or a folder of shards, whose '
        'members are compared with their digests.',
    )
    parser.add_argument(
        '--splits',
        nargs='+',
        default=['train', 'val', 'test'],
        choices=['train', 'val', 'test'],
        help="which of the config's data loaders",
    )
    parser.add_argument('--workers', type=natural, default=0, help='processes (default: this one alone)')
    parser.add_argument('--out', help='write the faults to this JSON file')
    parser.add_argument(
        '--statistics',
        nargs='?',
        const='statistics',
        metavar='DIR',
        help='also draw what the labels hold into DIR (default: statistics)',
    )


def run(args: argparse.Namespace) -> None:
    """Verify; the exit status is 1 when a fault was found."""
    from mmmtl.config import load_config
    from mmmtl.datasets.verify import verify_command

    if args.config.endswith('.parquet') or Path(args.config, 'index.parquet').is_file() or '://' in args.config:
        from mmmtl.datasets.preparation.sharding import verify_index_command
        from mmmtl.errors import ConfigError

        if args.statistics or args.cfg_options:
            raise ConfigError(f"--statistics and --cfg-options need a config, and '{args.config}' is an index of files")
        raise SystemExit(1 if verify_index_command(args.config, args.out) else 0)

    faults = verify_command(
        load_config(args.config, args.cfg_options), args.splits, args.workers, args.out, args.statistics
    )
    raise SystemExit(1 if faults else 0)
