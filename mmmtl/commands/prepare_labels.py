"""Fill a data set's cache of derived labels: ``mmmtl prepare-labels CONFIG``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, natural


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Compute boundaries, parts and normal masks once, before training.')
    parser.add_argument(
        '--splits',
        nargs='+',
        default=['train', 'val', 'test'],
        choices=['train', 'val', 'test'],
        help="which of the config's data loaders",
    )
    parser.add_argument('--workers', type=natural, default=0, help='processes (default: this one alone)')


def run(args: argparse.Namespace) -> None:
    """Prepare."""
    from mmmtl.config import load_config
    from mmmtl.datasets.preparation.prepare import prepare_command

    prepare_command(load_config(args.config, args.cfg_options), args.splits, args.workers)
