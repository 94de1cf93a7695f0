"""List files of a data set: ``python tools/dataset_converters/split_lists.py vkitti2 ROOT OUT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser('Write the lists of samples that the folders of a data set amount to.', config=False)
    parser.add_argument('dataset', help='vkitti2, hypersim, flyingthings3d, cityscapes, diode, kitti2015 or mid')
    parser.add_argument('root', help='root folder of the prepared data set')
    parser.add_argument('target', help='folder for the lists')
    parser.add_argument(
        '--percent', type=float, nargs='+', default=[], metavar='P', help='also random parts of P percent'
    )
    parser.add_argument('--seed', type=int, default=0, help='of the random parts (default: 0)')
    return parser.parse_args()


def main() -> None:
    """Write the lists."""
    args = parse_args()
    from mmmtl.apis import run_command
    from mmmtl.datasets.preparation.split_lists import PUBLISHED, write_split_lists

    counts = run_command(lambda: write_split_lists(args.dataset, args.root, args.target, args.percent, args.seed))
    for name, lines in counts.items():
        published = f' (published: {PUBLISHED[name]})' if name in PUBLISHED else ''
        print(f'{name}: {lines} lines{published}')


if __name__ == '__main__':
    main()
