"""How fast a model runs: ``python tools/analysis_tools/benchmark.py CONFIG``."""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from mmengine.config import DictAction

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # benchmarks/ lies beside tools/


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description='Time, peak memory and attained share of the matrix-multiply peak of a model with random weights.'
    )
    parser.add_argument('config', help='config file')
    parser.add_argument(
        '--mode', choices=['predict', 'train'], default='predict', help='one prediction, or one training step'
    )
    parser.add_argument(
        '--shape',
        nargs='+',
        type=int,
        metavar='N',
        help="HEIGHT [WIDTH] of the input (default: the config's)",
    )
    parser.add_argument('--batch', type=int, default=1, metavar='N', help='images (default: 1)')
    parser.add_argument('--repeats', type=int, default=5, metavar='N', help='measurements (default: 5)')
    parser.add_argument('--threads', type=int, metavar='N', help='CPU threads')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--amp', action='store_true', help='bfloat16 autocast')
    parser.add_argument('--compile', action='store_true', help='torch.compile')
    parser.add_argument('--reference', action='store_true',
                        help="measure the literal transcription of the method's data flow in turns with it, and compare the "
                             'numbers (TaskDiffusion on a ViT; always fp32, on the CPU)')  # fmt: skip
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, metavar='KEY=VALUE', help='change the config'
    )
    args = parser.parse_args()
    if args.shape and len(args.shape) > 2:
        parser.error('--shape takes HEIGHT [WIDTH]')
    return args


def measure(args: argparse.Namespace) -> None:
    """Build, measure, print."""
    import torch

    from mmmtl.apis import load_config
    from mmmtl.apis.benchmark import Benchmark, parts_table

    if args.threads:
        torch.set_num_threads(args.threads)
    options = dict(args.cfg_options or {})
    size = (args.shape[0], args.shape[-1]) if args.shape else None
    if size:
        options.setdefault('model.backbone.img_size', size)
    bench = Benchmark(
        load_config(args.config, options), args.mode, size, args.batch, args.device, args.amp, args.compile
    )
    print(f'{args.config}, {args.mode}, {args.batch} x {bench.size[0]} x {bench.size[1]}, {args.device}, '
          f'{torch.get_num_threads()} threads{", bfloat16 autocast" if args.amp else ""}')  # fmt: skip
    if not args.reference:
        speed, _ = bench.measure(args.repeats)
        print('\n'.join(speed.lines('this model')), parts_table(speed.parts), sep='\n\n')
        return
    from benchmarks.reference.match import Pair, count_reference
    from mmmtl.apis.benchmark import peak_memory

    pair = Pair(bench.model, bench.inputs, bench.targets)
    expected, found = pair.run_reference(), bench.run(pair.draws())
    compare = pair.compare_predictions if args.mode == 'predict' else pair.compare_steps
    for title, value in compare(found, expected).items():
        print(f'  {title}: {value:.2e}')
    del expected, found
    speed, others = bench.measure(args.repeats, {'reference': pair.run_reference})
    for parameter in [*bench.model.parameters(), *pair.reference.parameters()]:
        parameter.grad = None
    memory = peak_memory(pair.run_reference)
    memory -= sum(p.grad.numel() * 4 for p in pair.reference.parameters() if p.grad is not None)
    print('\n'.join(speed.lines('this model')))
    seconds = others['reference']
    print(f'reference: median {statistics.median(seconds):.3f} s, best {min(seconds):.3f} s, '
          f'peak memory {memory / 2**20:.0f} MiB')  # fmt: skip
    if args.mode == 'predict':
        print(
            f'  {count_reference(pair.setting, args.batch) / 1e9:.1f} G multiply-accumulates in convolutions and linear layers'
        )
    print(f'ratio: {statistics.median(seconds) / speed.median:.2f} x by medians, {min(seconds) / min(speed.seconds):.2f} x by '
          f'the best, memory {speed.memory / max(memory, 1):.2f} x')  # fmt: skip
    print(parts_table(speed.parts))


def main() -> None:
    """Measure; a mistake is told in a line."""
    args = parse_args()
    from mmmtl.apis import run_command

    run_command(lambda: measure(args))


if __name__ == '__main__':
    main()
