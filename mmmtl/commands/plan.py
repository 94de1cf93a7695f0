"""Plan a training on many GPUs: ``mmmtl plan CONFIG --gpus 64 --tflops 400 --bandwidth 50``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import add_shape, describe, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Plan a training on many GPUs from counted operations, parameters and bytes: time and bytes of an update by DDP and '
        'FSDP, images per second, what has to be read.',
    )
    parser.add_argument('--gpus', type=positive, required=True, metavar='N', help='number of GPUs')
    parser.add_argument('--tflops', type=float, required=True, metavar='X', help='10^12 operations a second of a GPU')
    parser.add_argument('--bandwidth', type=float, required=True, metavar='X', help='10^9 bytes a second between GPUs')
    parser.add_argument('--utilization', type=float, default=0.4, metavar='SHARE', help='of --tflops (default: 0.4)')
    parser.add_argument('--sample-bytes', type=float, metavar='N', help='bytes of a stored sample (default: decoded)')
    add_shape(parser)


def run(args: argparse.Namespace) -> None:
    """Count and print."""
    from mmmtl.analysis.plan import plan_report
    from mmmtl.config import load_config

    cfg = load_config(args.config, args.cfg_options)
    print(plan_report(cfg, args.gpus, args.tflops, args.bandwidth, args.utilization, args.shape, args.sample_bytes))
