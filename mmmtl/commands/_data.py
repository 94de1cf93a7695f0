"""Arguments of the commands that go over a data set's samples."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import natural


def add_walk_arguments(parser: argparse.ArgumentParser) -> None:
    """Which splits, and by how many processes."""
    parser.add_argument(
        '--splits',
        nargs='+',
        default=['train'],
        choices=['train', 'val', 'test'],
        help="which of the config's data loaders (default: train)",
    )
    parser.add_argument('--workers', type=natural, default=0, help='processes (default: this one alone)')
