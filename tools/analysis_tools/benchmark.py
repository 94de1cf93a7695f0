"""How fast a model runs: ``python tools/analysis_tools/benchmark.py CONFIG``."""

from __future__ import annotations

import argparse

from mmmtl.utils.command_line import add_shape, make_parser, positive, shape_of


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Time, peak memory and attained share of the matrix-multiply peak of a model with random weights.'
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
        '--no-optimize',
        action='store_true',
        help='predict with the network as it trains, without the changes that speed prediction up on a CPU',
    )
    args = parser.parse_args()
    args.shape = shape_of(parser, args)
    return args


def main() -> None:
    """Measure; a mistake is told in a line."""
    args = parse_args()
    from mmmtl.analysis.benchmark_report import measure
    from mmmtl.apis import run_command

    run_command(lambda: measure(**vars(args)))


if __name__ == '__main__':
    main()
