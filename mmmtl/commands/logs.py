"""Curves and a summary of runs: ``mmmtl logs WORK_DIR...``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe, natural, share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Plot losses and metrics by task; print first, last and best values.', config=False)
    parser.add_argument('runs', nargs='+', help='work dirs or scalars.json files; several are drawn over each other')
    parser.add_argument('--out', default='curves.png', metavar='FILE', help='.png, .pdf or .svg (default: curves.png)')
    parser.add_argument(
        '--smooth', type=share, default=0.0, metavar='W', help='exponential smoothing of losses, 0 to 0.99'
    )
    parser.add_argument(
        '--metrics', type=natural, default=1, metavar='N', help='how many metrics of each task (default: 1)'
    )


def run(args: argparse.Namespace) -> None:
    """Plot and print."""
    from mmmtl.analysis import plot_logs, read_log, summarize_log

    logs = [read_log(run) for run in args.runs]
    for log in logs:
        print(summarize_log(log), end='\n\n')
    print(f'curves: {plot_logs(logs, args.out, args.smooth, args.metrics)}')
