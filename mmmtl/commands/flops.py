"""Parameters and multiply-accumulates by part: ``mmmtl flops CONFIG``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import add_shape, describe


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(parser, 'Count parameters and multiply-accumulates of a model, by part.')
    add_shape(parser)


def run(args: argparse.Namespace) -> None:
    """Count and print; beside it, what the method's published data flow would compute."""
    from mmmtl.analysis import complexity_report
    from mmmtl.config import load_config

    print(complexity_report(load_config(args.config, args.cfg_options), args.shape))
