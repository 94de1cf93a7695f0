"""Figures of predictions in files: ``python tools/analysis_tools/eval_predictions.py CONFIG DIR``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import OptionAction, make_parser


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Evaluate what tools/test.py --out, or other code, wrote: DIR/TASK/SAMPLE_ID.npy, .png or .flo.'
    )
    parser.add_argument('folder', metavar='DIR', help='folder of predictions')
    parser.add_argument('--work-dir', help='where metrics.json goes (default: DIR)')
    parser.add_argument('--tasks', nargs='+', metavar='TASK', help='evaluate these tasks only')
    parser.add_argument(
        '--formats',
        nargs='+',
        action=OptionAction,
        metavar='TASK.KEY=VALUE',
        help="what the numbers of other code's pictures mean: depth.scale=0.001 depth.offset=0",
    )
    return parser.parse_args()


def main() -> None:
    """Evaluate."""
    args = parse_args()
    from mmmtl.analysis.offline import evaluate_predictions
    from mmmtl.apis import run_command
    from mmmtl.config import load_config

    run_command(
        lambda: evaluate_predictions(
            load_config(args.config, args.cfg_options), args.folder, args.work_dir, args.tasks, args.formats
        )
    )


if __name__ == '__main__':
    main()
