"""Predictions of several runs on the same images: ``python tools/analysis_tools/side_by_side.py CONFIG RUN_A RUN_B``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser, positive


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser('Draw a panel per image: ground truth, and below it what each run predicted.')
    parser.add_argument('runs', nargs='+', metavar='RUN', help='folders that tools/test.py --out wrote')
    parser.add_argument('--names', nargs='+', metavar='NAME', help='what the runs are called (default: their folders)')
    parser.add_argument('--images', nargs='+', metavar='SAMPLE_ID', help='images to draw (default: the first ones)')
    parser.add_argument('--number', type=positive, default=8, metavar='N', help='how many of the first (default: 8)')
    parser.add_argument('--out', default='side_by_side', metavar='DIR', help='where panels go (default: side_by_side)')
    return parser.parse_args()


def main() -> None:
    """Draw."""
    args = parse_args()
    from mmmtl.analysis.side_by_side import draw_side_by_side
    from mmmtl.apis import run_command
    from mmmtl.config import load_config

    def draw() -> None:
        cfg = load_config(args.config, args.cfg_options)
        paths = draw_side_by_side(cfg, args.runs, args.out, args.names, args.images, args.number)
        print(f'{len(paths)} panels in {args.out}')

    run_command(draw)


if __name__ == '__main__':
    main()
