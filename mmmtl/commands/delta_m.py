"""Δm against single-task networks: ``mmmtl delta-m RUN... --reference FILE``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Mean relative gain over single-task networks, by metric; several runs give mean and deviation.',
        config=False,
    )
    parser.add_argument('runs', nargs='*', help='work dirs or metrics.json files, the seeds of one experiment')
    parser.add_argument(
        '--reference',
        required=True,
        metavar='FILE',
        help="a paper's rows (configs/_base_/references/*.py), or metrics.json of single-task runs, comma-separated",
    )
    parser.add_argument(
        '--metrics', nargs='+', metavar='TASK/METRIC', help='use these metrics only (default: all of the reference)'
    )
    parser.add_argument('--rows', action='store_true', help="recompute the paper's own rows too")


def run(args: argparse.Namespace) -> None:
    """Compute and print."""
    from mmmtl.analysis.comparison_tables import delta_m_table

    print(delta_m_table(args.runs, args.reference, args.metrics, args.rows))
