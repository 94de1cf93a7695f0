"""Parameters and multiply-accumulates by part: ``python tools/analysis_tools/get_flops.py CONFIG``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks/ lies beside tools/


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
    parser.add_argument(
        '--published',
        action='store_true',
        help="count as the DiffusionMTL paper's tables do: its data flow, in fvcore's convention",
    )
    args = parser.parse_args()
    if args.shape and len(args.shape) > 2:
        parser.error('--shape takes HEIGHT [WIDTH]')
    return args


def main() -> None:
    """Count and print."""
    args = parse_args()
    from mmmtl.apis import count_complexity, load_config, run_command
    from mmmtl.apis.complexity import input_size

    size = None if not args.shape else (args.shape[0], args.shape[-1])
    if args.published:
        from benchmarks.reference.published_counts import published_line

        cfg = load_config(args.config, args.cfg_options)
        run_command(lambda: print(published_line(cfg, size or input_size(cfg))))
        return
    run_command(lambda: print(count_complexity(load_config(args.config, args.cfg_options), size).table()))


if __name__ == '__main__':
    main()
