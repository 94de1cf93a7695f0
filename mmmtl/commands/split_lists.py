"""List files of a data set: ``mmmtl split-lists vkitti2 ROOT OUT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Write the lists of samples that the folders of a data set amount to.', config=False)
    parser.add_argument('dataset', help='vkitti2, hypersim, flyingthings3d, cityscapes, diode, kitti2015 or mid')
    parser.add_argument('root', help='root folder of the prepared data set')
    parser.add_argument('target', help='folder for the lists')
    parser.add_argument(
        '--percent', type=float, nargs='+', default=[], metavar='P', help='also random parts of P percent'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the random parts (default: 0)')


def run(args: argparse.Namespace) -> None:
    """Write the lists."""
    from mmmtl.datasets.preparation.split_lists import PUBLISHED, write_split_lists

    counts = write_split_lists(args.dataset, args.root, args.target, args.percent, args.seed)
    for name, lines in counts.items():
        published = f' (published: {PUBLISHED[name]})' if name in PUBLISHED else ''
        print(f'{name}: {lines} lines{published}')
