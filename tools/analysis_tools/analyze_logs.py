"""Curves and a summary of runs: ``python tools/analysis_tools/analyze_logs.py WORK_DIR...``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser('Plot losses and figures by task; print first, last and best values.', config=False)
    parser.add_argument('runs', nargs='+', help='work dirs or scalars.json files; several are drawn over each other')
    parser.add_argument('--out', default='curves.png', metavar='FILE', help='.png, .pdf or .svg (default: curves.png)')
    parser.add_argument(
        '--smooth', type=float, default=0.0, metavar='W', help='exponential smoothing of losses, 0 to 0.99'
    )
    parser.add_argument(
        '--figures', type=int, default=1, metavar='N', help='how many figures of each task (default: 1)'
    )
    return parser.parse_args()


def main() -> None:
    """Plot and print."""
    args = parse_args()
    from mmmtl.analysis import plot_logs, read_log, summarize_log
    from mmmtl.apis import run_command

    def analyze() -> None:
        logs = [read_log(run) for run in args.runs]
        for log in logs:
            print(summarize_log(log), end='\n\n')
        print(f'curves: {plot_logs(logs, args.out, args.smooth, args.figures)}')

    run_command(analyze)


if __name__ == '__main__':
    main()
