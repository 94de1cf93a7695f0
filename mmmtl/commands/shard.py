"""Put a data set into tar files: ``mmmtl shard CONFIG --out DIR``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe

from ._data import add_walk_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        "Write the data set's own files, unread, into tar files in WebDataset's layout, with an index of their places. Started "
        'again, it goes on where it was stopped.',
    )
    parser.add_argument(
        '--out', required=True, metavar='DIR', help='a folder, or an address such as s3://BUCKET/FOLDER'
    )
    parser.add_argument('--size', default='1GB', help='bytes of a shard (default: 1GB)')
    add_walk_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Shard."""
    from mmmtl.config import load_config
    from mmmtl.datasets.preparation.sharding import shard_command

    shard_command(load_config(args.config, args.cfg_options), args.out, args.size, args.splits, args.workers)
