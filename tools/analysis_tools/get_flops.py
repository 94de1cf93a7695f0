"""Parameters and multiply-accumulates by part: ``python tools/analysis_tools/get_flops.py CONFIG``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmmtl.utils.command_line import OptionAction

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks/ lies beside tools/


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Count parameters and multiply-accumulates of a model, by part.')
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--shape', nargs='+', type=int, metavar='N', help="HEIGHT [WIDTH] of the input (default: the config's)"
    )
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction, metavar='KEY=VALUE', help='change the config')
    args = parser.parse_args()
    if args.shape and len(args.shape) > 2:
        parser.error('--shape takes HEIGHT [WIDTH]')
    return args


def count(args: argparse.Namespace) -> None:
    """Count and print; beside it, what the method's literal transcription in ``benchmarks/`` would compute."""
    from mmmtl.analysis import count_complexity
    from mmmtl.config import load_config

    size = None if not args.shape else (args.shape[0], args.shape[-1])
    cfg = load_config(args.config, args.cfg_options)
    counts = count_complexity(cfg, size)
    print(counts.table())
    from benchmarks.reference.published_counts import published_line

    line = published_line(cfg, counts.size)
    if line is not None:
        print(line)


def main() -> None:
    """Count; a mistake is told in a line."""
    args = parse_args()
    from mmmtl.apis import run_command

    run_command(lambda: count(args))


if __name__ == '__main__':
    main()
