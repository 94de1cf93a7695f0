"""Train, evaluate and draw a small TaskDiffusion on generated scenes: ``mmmtl demo``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import add_cfg_options, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Train, evaluate and draw a small TaskDiffusion on generated scenes.', config=False)
    parser.add_argument('--config', default='mmmtl::taskdiffusion/vitt_diorama', help='default: %(default)s')
    parser.add_argument('--work-dir', default='work_dirs/demo', help='default: %(default)s')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    """Train, evaluate, draw."""
    from mmmtl.analysis.demo import run_demo

    run_demo(args.config, args.work_dir, args.cfg_options)
