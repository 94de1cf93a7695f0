"""Two runs side by side: ``python tools/analysis_tools/compare.py RUN_A RUN_B``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Every figure of two runs and a paired bootstrap over images for the difference A - B.',
        epilog='A side may be several seeds, comma-separated: SEED_1,SEED_2,SEED_3. Intervals need the '
        'records.npz that tools/test.py writes beside metrics.json.',
        config=False,
    )
    parser.add_argument('run_a', metavar='RUN_A', help='work dir of the first run')
    parser.add_argument('run_b', metavar='RUN_B', help='work dir of the second run')
    parser.add_argument('--resamples', type=int, default=1000, metavar='N', help='of the images (default: 1000)')
    parser.add_argument('--seed', type=int, default=0, help='of the resampling (default: 0)')
    parser.add_argument('--out', metavar='FILE', help='write the numbers as JSON')
    return parser.parse_args()


def main() -> None:
    """Compare and print."""
    args = parse_args()
    from mmmtl.analysis.comparison_tables import comparison_table
    from mmmtl.apis import run_command

    run_command(lambda: print(comparison_table(args.run_a, args.run_b, args.resamples, args.seed, args.out)))


if __name__ == '__main__':
    main()
