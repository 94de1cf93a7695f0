"""Parameters and multiply-accumulates by part: ``python tools/analysis_tools/get_flops.py CONFIG``."""

from __future__ import annotations

import argparse

from mmengine.config import DictAction


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Count parameters and multiply-accumulates of a model, by part.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        metavar='N',
        help="HEIGHT [WIDTH] of the input (default: the config's)",
    )
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )
    args = parser.parse_args()
    if args.shape and len(args.shape) > 2:
        parser.error('--shape takes HEIGHT [WIDTH]')
    return args


def main() -> None:
    """Count and print."""
    args = parse_args()
    from mmmtl.apis import count_complexity, load_config, run_command

    size = None if not args.shape else (args.shape[0], args.shape[-1])
    run_command(lambda: print(count_complexity(load_config(args.config, args.cfg_options), size).table()))


if __name__ == '__main__':
    main()
