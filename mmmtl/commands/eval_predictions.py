"""Metrics of predictions in files: ``mmmtl eval-predictions CONFIG DIR``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import OptionAction, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Evaluate what tools/test.py --out, or other code, wrote: DIR/TASK/SAMPLE_ID.npy, .png or .flo.')
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


def run(args: argparse.Namespace) -> None:
    """Evaluate."""
    from mmmtl.analysis.offline import evaluate_predictions
    from mmmtl.config import load_config

    evaluate_predictions(
        load_config(args.config, args.cfg_options), args.folder, args.work_dir, args.tasks, args.formats
    )
