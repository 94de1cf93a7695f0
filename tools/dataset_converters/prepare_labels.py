"""Fill a data set's cache of derived labels: ``python tools/dataset_converters/prepare_labels.py CONFIG``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser('Compute boundaries, parts and normal masks once, before training.')
    parser.add_argument(
        '--splits',
        nargs='+',
        default=['train', 'val', 'test'],
        choices=['train', 'val', 'test'],
        help="which of the config's data loaders",
    )
    parser.add_argument('--workers', type=int, default=0, help='processes (default: this one alone)')
    return parser.parse_args()


def main() -> None:
    """Prepare."""
    args = parse_args()
    from mmmtl.apis import run_command
    from mmmtl.config import load_config
    from mmmtl.datasets.preparation.prepare import prepare_command

    run_command(lambda: prepare_command(load_config(args.config, args.cfg_options), args.splits, args.workers))


if __name__ == '__main__':
    main()
