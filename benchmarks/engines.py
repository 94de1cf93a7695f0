"""A network through OpenVINO and onnxruntime beside this package, in turns in one process: same weights, images and draws.

    python benchmarks/engines.py configs/diffusionmtl/r18_pascal.py --shape 512 --threads 2 [--bf16] [--out FILE]

The network's plain expressions are exported with the noise of the prediction as constants (that is what such an engine
would be given), and run in single precision, OpenVINO with ``--bf16`` in bfloat16.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from mmmtl.analysis.benchmark import Benchmark, interleaved  # noqa: E402
from mmmtl.config import load_config  # noqa: E402
from mmmtl.diffusion.noise import RecordedNoise, SampleNoise  # noqa: E402
from mmmtl.export.program import DrawnNoise  # noqa: E402
from mmmtl.ops.dispatch import plain_operations  # noqa: E402
from mmmtl.ops.inference import optimize_for_inference, restore  # noqa: E402
from mmmtl.utils.files import write_json  # noqa: E402

ENGINES = ('openvino', 'onnxruntime')


class Raw(nn.Module):
    """Images (B, 3, H, W) → raw maps in the order of the tasks; the noise is part of it."""

    def __init__(self, model: nn.Module, draws: dict[str, Tensor]) -> None:
        super().__init__()
        self.model, self.noise = model, RecordedNoise(draws)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(images, noise=self.noise).values())


def openvino_runner(network: nn.Module, images: Tensor, threads: int, bf16: bool) -> Callable[[], list[np.ndarray]]:
    """The network compiled by OpenVINO."""
    import openvino

    with torch.no_grad(), plain_operations():
        converted = openvino.convert_model(network, example_input=images, input=[list(images.shape)])
    settings = {
        'INFERENCE_NUM_THREADS': threads,
        'INFERENCE_PRECISION_HINT': 'bf16' if bf16 else 'f32',
        'PERFORMANCE_HINT': 'LATENCY',
    }
    compiled = openvino.Core().compile_model(converted, 'CPU', settings)
    array = images.numpy()
    return lambda: [np.asarray(y) for y in compiled([array]).values()]


def onnxruntime_runner(network: nn.Module, images: Tensor, threads: int, bf16: bool) -> Callable[[], list[np.ndarray]]:
    """The network exported to ONNX and run by onnxruntime."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder, torch.no_grad(), plain_operations():
        path = str(Path(folder) / 'network.onnx')
        torch.onnx.export(network, (images,), path, dynamo=True, external_data=True, verbose=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    feed = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, feed)


RUNNERS = {'openvino': openvino_runner, 'onnxruntime': onnxruntime_runner}


def compare(
    bench: Benchmark, engines: Sequence[str], threads: int, repeats: int, bf16: bool = False
) -> dict[str, dict[str, Any]]:
    """Milliseconds of every engine and of this package, and how far their maps are apart from the plain network's."""
    recording = DrawnNoise(SampleNoise(0, [str(i) for i in range(bench.batch)]))
    restore(bench.model).eval()
    with torch.no_grad(), plain_operations():
        wanted = [y.numpy() for y in bench.model(bench.inputs, noise=recording).values()]
    network = Raw(bench.model, recording.draws).eval()
    runs: dict[str, Callable[[], Any]] = {}
    found: dict[str, dict[str, Any]] = {}
    for name in engines:
        try:
            runs[name] = RUNNERS[name](network, bench.inputs, threads, bf16)
            maps = runs[name]()
        except Exception as error:  # an engine that does not know an operator is a result too
            runs.pop(name, None)
            found[name] = dict(error=f'{type(error).__name__}: {" ".join(str(error).split())[:200]}')
            continue
        found[name] = dict(difference=largest_difference(maps, wanted))
    optimize_for_inference(bench.model)
    noise = RecordedNoise(recording.draws)
    runs['here'] = lambda: bench.run(noise)
    found['here'] = dict(difference=largest_difference([y.float().numpy() for y in runs['here']().values()], wanted))
    for name, times in interleaved(runs, repeats).items():
        found[name]['ms'] = 1e3 * sorted(times)[len(times) // 2]
    return found


def largest_difference(maps: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    """Of all maps, relative to each one's largest value."""
    return float(np.max([np.abs(a - b).max() / np.abs(b).max() for a, b in zip(maps, wanted)]))


def main(argv: Sequence[str] | None = None) -> dict[str, dict[str, Any]]:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config')
    parser.add_argument('--shape', type=int, nargs='+', help='side, or height and width (default: the config)')
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--repeats', type=int, default=5)
    parser.add_argument('--engines', nargs='+', choices=ENGINES, default=list(ENGINES))
    parser.add_argument('--bf16', action='store_true')
    parser.add_argument('--out', metavar='FILE')
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    size = tuple((args.shape * 2)[:2]) if args.shape else None
    options: dict[str, Any] = {}
    if size and load_config(args.config).model.get('backbone', {}).get('img_size'):
        options['model.backbone.img_size'] = size
    bench = Benchmark(load_config(args.config, options), 'predict', size, amp=args.bf16, optimize=False)
    found = compare(bench, args.engines, args.threads, args.repeats, args.bf16)
    for name, row in found.items():
        told = row.get('error') or f'{row["ms"]:.0f} ms, largest relative difference {row["difference"]:.1e}'
        ratio = f', {row["ms"] / found["here"]["ms"]:.2f} times the time of this package' if 'ms' in row else ''
        print(f'{name}: {told}{ratio}', flush=True)
    if args.out:
        write_json(args.out, found)
    return found


if __name__ == '__main__':
    main()
