"""Two runs side by side: ``mmmtl compare RUN_A RUN_B``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, natural, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Every metric of two runs and a paired bootstrap over images for the difference A - B.',
        epilog='A side may be several seeds, comma-separated: SEED_1,SEED_2,SEED_3. Intervals need the '
        'records.npz that tools/test.py writes beside metrics.json.',
        config=False,
    )
    parser.add_argument('run_a', metavar='RUN_A', help='work dir of the first run')
    parser.add_argument('run_b', metavar='RUN_B', help='work dir of the second run')
    parser.add_argument('--resamples', type=positive, default=1000, metavar='N', help='of the images (default: 1000)')
    parser.add_argument('--seed', type=natural, default=0, help='of the resampling (default: 0)')
    parser.add_argument('--out', metavar='FILE', help='write the numbers as JSON')


def run(args: argparse.Namespace) -> None:
    """Compare and print."""
    from mmmtl.analysis.comparison_tables import comparison_table

    print(comparison_table(args.run_a, args.run_b, args.resamples, args.seed, args.out))
