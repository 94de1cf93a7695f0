"""How fast a model runs: ``mmmtl benchmark CONFIG``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import add_shape, describe, positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    describe(
        parser,
        'Time, peak memory and attained share of the matrix-multiply peak of a model with random weights.',
        config='optional',
    )
    parser.add_argument(
        '--mode', choices=['predict', 'train'], default='predict', help='one prediction, or one training step'
    )
    add_shape(parser)
    parser.add_argument('--batch', type=positive, default=1, metavar='N', help='images (default: 1)')
    parser.add_argument('--one-label', action='store_true', help='train with one label for every image')
    parser.add_argument('--repeats', type=positive, default=5, metavar='N', help='measurements (default: 5)')
    parser.add_argument('--threads', type=positive, metavar='N', help='CPU threads')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--amp', action='store_true', help='bfloat16 autocast')
    parser.add_argument('--compile', action='store_true', help='torch.compile')
    parser.add_argument(
        '--reference',
        action='store_true',
        help="measure the literal transcription of the method's data flow in turns with it, and compare the "
        'numbers (always fp32, on the CPU)',
    )
    parser.add_argument(
        '--plain', action='store_true', help='measure the plain expressions of the same network in turns with it'
    )
    parser.add_argument(
        '--no-optimize',
        action='store_true',
        help='predict with the network as it trains, without the changes that speed prediction up on a CPU',
    )
    parser.add_argument(
        '--catalogue',
        action='store_true',
        help='one table of parameters, multiply-accumulates, time and memory of every method, small (without CONFIG), or of '
        'the method options of CONFIG',
    )
    parser.add_argument(
        '--roofline',
        action='store_true',
        help="operations, bytes, and attained share of the machine's peak and bandwidth of every part of a prediction",
    )
    parser.add_argument(
        '--scaling',
        nargs='+',
        choices=['tasks', 'steps', 'size', 'width', 'batch', 'levels'],
        metavar='AXIS',
        help='how time and memory grow with tasks, steps, size, width, batch, levels, beside the fitted law',
    )
    parser.add_argument(
        '--out',
        metavar='FILE',
        help='the numbers as JSON; with --scaling the page (.md), its plot and numbers beside it',
    )


def run(args: argparse.Namespace) -> None:
    """Measure; a mistake is told in a line."""
    from mmmtl.analysis.benchmark_report import measure
    from mmmtl.errors import ConfigError

    if args.config is None and not args.catalogue:
        raise ConfigError('CONFIG is missing: only --catalogue has a default')
    if (args.scaling or args.roofline or args.plain) and args.mode == 'train':
        raise ConfigError('--scaling, --roofline and --plain are of predictions: leave out --mode train')
    if args.reference and args.plain:
        raise ConfigError('--reference and --plain are two comparisons: choose one')
    measure(**vars(args))
