"""Each task's loss of accuracy in half precision: ``mmmtl precision CONFIG CHECKPOINT``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        "Evaluate one checkpoint in single and in half precision; print each task's loss of accuracy.",
        checkpoint=True,
    )
    parser.add_argument(
        '--dtypes', nargs='+', choices=['bf16', 'fp16'], default=['bf16', 'fp16'], help='default: bf16 fp16'
    )
    parser.add_argument('--work-dir', help="default: work_dirs/ + the config's name + /precision")
    parser.add_argument('--out', metavar='FILE', help='Markdown file that gets the table')


def run(args: argparse.Namespace) -> None:
    """Evaluate and compare."""
    from mmmtl.analysis.precision import compare_precisions
    from mmmtl.apis.runs import default_work_dir
    from mmmtl.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    folder = args.work_dir or f'{default_work_dir(cfg)}/precision'
    compare_precisions(cfg, args.checkpoint, args.dtypes, folder, args.out)
