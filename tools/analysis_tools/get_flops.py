"""Parameters and multiply-accumulates by part: ``python tools/analysis_tools/get_flops.py CONFIG``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import add_shape, make_parser, shape_of


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser('Count parameters and multiply-accumulates of a model, by part.')
    add_shape(parser)
    args = parser.parse_args()
    args.shape = shape_of(parser, args)
    return args


def main() -> None:
    """Count and print; beside it, what the method's published data flow would compute."""
    args = parse_args()
    from mmmtl.analysis import complexity_report
    from mmmtl.apis import run_command
    from mmmtl.config import load_config

    run_command(lambda: print(complexity_report(load_config(args.config, args.cfg_options), args.shape)))


if __name__ == '__main__':
    main()
