"""How fast a model runs: ``python tools/analysis_tools/benchmark.py CONFIG``."""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from mmmtl.utils.command_line import add_shape, make_parser

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks/ lies beside tools/


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = make_parser(
        'Time, peak memory and attained share of the matrix-multiply peak of a model with random weights.'
    )
    parser.add_argument(
        '--mode', choices=['predict', 'train'], default='predict', help='one prediction, or one training step'
    )
    add_shape(parser)
    parser.add_argument('--batch', type=int, default=1, metavar='N', help='images (default: 1)')
    parser.add_argument('--one-label', action='store_true', help='train with one label for every image')
    parser.add_argument('--repeats', type=int, default=5, metavar='N', help='measurements (default: 5)')
    parser.add_argument('--threads', type=int, metavar='N', help='CPU threads')
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
    if args.shape and len(args.shape) > 2:
        parser.error('--shape takes HEIGHT [WIDTH]')
    return args


def measure(args: argparse.Namespace) -> None:
    """Build, measure, print."""
    import torch

    from mmmtl.analysis.benchmark import Benchmark, parts_table, peak_memory
    from mmmtl.config import load_config
    from mmmtl.ops.allocator import live_memory

    if args.threads:
        torch.set_num_threads(args.threads)
    options = dict(args.cfg_options or {})
    size = (args.shape[0], args.shape[-1]) if args.shape else None
    backbone = 'backbone' in load_config(args.config).get('model', {})
    if backbone and load_config(args.config, options).model.backbone.get('img_size'):
        if size:
            options.setdefault('model.backbone.img_size', size)
        if args.reference:  # it drops no paths, and neither must what is compared with it
            options.setdefault('model.backbone.drop_path_rate', 0.0)
    cfg = load_config(args.config, options)
    bench = Benchmark(
        cfg,
        args.mode,
        size,
        args.batch,
        args.device,
        args.amp,
        args.compile,
        one_label=args.one_label,
        optimize=not args.no_optimize,
    )
    print(
        f'{args.config}, {args.mode}, {args.batch} x {bench.size[0]} x {bench.size[1]}, {args.device}, '
        f'{torch.get_num_threads()} threads{", bfloat16 autocast" if args.amp else ""}'
    )
    others, noise, pair, memory = {}, None, None, None
    if args.reference:
        pair = pair_of(bench.model)(bench.model, bench.inputs, bench.targets)
        noise = pair.draws()
        compare = pair.compare_predictions if args.mode == 'predict' else pair.compare_steps
        with live_memory():
            expected = pair.run_reference()
            figures = compare(bench.run(noise), expected)
            print('this model: ' + ', '.join(f'{what} {value:.2e}' for what, value in figures.items()))
            del expected
            memory = bench.measure_memory()
            reference_memory = peak_memory(pair.run_reference, parameters=pair.reference.parameters())
        others['reference'] = pair.run_reference
    speed, seconds = bench.measure(args.repeats, others, noise=noise, memory=memory)
    print('\n'.join(speed.lines('this model')))
    for name, times in seconds.items():
        print(f'{name}: median {statistics.median(times):.3f} s, best {min(times):.3f} s of {len(times)}')
    if pair:
        print_ratios(args, pair, speed, seconds, reference_memory)
    print(parts_table(speed.parts))


def pair_of(model):
    """The class that puts a network and the transcription of its method side by side."""
    from benchmarks.reference.match import Pair
    from benchmarks.reference.match_diffusionmtl import DiffusionPair
    from benchmarks.reference.match_latent import LatentPair
    from mmmtl.errors import ConfigError

    kinds = {'TaskDiffusionDecoder': Pair, 'DiffusionMTLDecoder': DiffusionPair}
    kind = type(getattr(model, 'decoder', None)).__name__
    if hasattr(model, 'autoencoder'):
        return LatentPair
    if kind not in kinds:
        raise ConfigError(f'there is no transcription of {kind}: leave out --reference')
    return kinds[kind]


def print_ratios(args: argparse.Namespace, pair, speed, seconds, memory: int) -> None:
    """The reference over everything else: time, and this model's peak memory over the reference's."""
    reference = seconds.pop('reference')
    for name, times in {'this model': speed.seconds, **seconds}.items():
        print(
            f'ratio, {name}: {statistics.median(reference) / statistics.median(times):.2f} x by medians, '
            f'{min(reference) / min(times):.2f} x by the best'
        )
    print(
        f'peak memory of the reference {memory / 2**20:.0f} MiB, this model {speed.memory / max(memory, 1):.2f} x of it'
    )
    if args.mode == 'predict':
        print(f'the reference: {pair.work()}')


def main() -> None:
    """Measure; a mistake is told in a line."""
    args = parse_args()
    from mmmtl.apis import run_command

    run_command(lambda: measure(args))


if __name__ == '__main__':
    main()
