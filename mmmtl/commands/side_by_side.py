"""Predictions of several runs on the same images: ``mmmtl side-by-side CONFIG RUN_A RUN_B``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Draw a panel per image: ground truth, and below it what each run predicted.')
    parser.add_argument('runs', nargs='+', metavar='RUN', help='folders that tools/test.py --out wrote')
    parser.add_argument('--names', nargs='+', metavar='NAME', help='what the runs are called (default: their folders)')
    parser.add_argument('--images', nargs='+', metavar='SAMPLE_ID', help='images to draw (default: the first ones)')
    parser.add_argument('--number', type=positive, default=8, metavar='N', help='how many of the first (default: 8)')
    parser.add_argument('--out', default='side_by_side', metavar='DIR', help='where panels go (default: side_by_side)')


def run(args: argparse.Namespace) -> None:
    """Draw."""
    from mmmtl.analysis.side_by_side import draw_side_by_side
    from mmmtl.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    paths = draw_side_by_side(cfg, args.runs, args.out, args.names, args.images, args.number)
    print(f'{len(paths)} panels in {args.out}')
