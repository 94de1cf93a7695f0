"""Draw what the network is shown: ``mmmtl browse CONFIG --out DIR``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, natural, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Write a panel per sample, after augmentation.')
    parser.add_argument('--out', default='browse', metavar='DIR', help='where panels go (default: browse)')
    parser.add_argument(
        '--split', choices=['train', 'val', 'test'], default='train', help='which dataset (default: train)'
    )
    parser.add_argument(
        '--number', type=natural, default=16, metavar='N', help='how many samples (default: 16; 0: all)'
    )
    parser.add_argument('--start', type=natural, default=0, metavar='I', help='index of the first one')
    parser.add_argument('--draws', type=positive, default=1, metavar='N', help='augment and draw each sample N times')


def run(args: argparse.Namespace) -> None:
    """Draw."""
    from mmmtl.analysis import browse_dataset
    from mmmtl.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    paths = browse_dataset(cfg, args.out, args.split, args.number or None, args.start, args.draws)
    print(f'{len(paths)} panels in {args.out}')
