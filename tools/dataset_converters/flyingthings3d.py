"""Prepare FlyingThings3D: ``python tools/dataset_converters/flyingthings3d.py SUBSET OUT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser('Scene flow from disparity, flow as pictures; start again to resume.', config=False)
    parser.add_argument('source', help='the unpacked subset, with the folders train and val')
    parser.add_argument('target', help='output folder')
    parser.add_argument('--splits', nargs='+', default=['train', 'val'], help='splits to prepare (default: train val)')
    parser.add_argument('--workers', type=int, default=0, help='processes (default: this one alone)')
    return parser.parse_args()


def main() -> None:
    """Convert."""
    args = parse_args()
    from mmmtl.apis import run_command
    from mmmtl.datasets.preparation.flyingthings3d import prepare_flyingthings3d

    made, before = run_command(
        lambda: prepare_flyingthings3d(args.source, args.target, tuple(args.splits), args.workers)
    )
    print(f'{made} frames and photographs made, {before} were there')


if __name__ == '__main__':
    main()
