"""All seven tasks of one pair of frames: this package against the published flow, same weights, in one process.

    python benchmarks/stablemtl_speed.py [tiny mid] [--repeats N] [--threads N] [--memory]

Ratios of CPU seconds, the two programs interleaved, so that they mean something on a shared machine; with ``--memory``
each runs in a process of its own and the peak beyond what was there before the call is compared.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.reference.match_latent import LatentPair  # noqa: E402
from mmmtl.ops import optimize_for_inference  # noqa: E402

SIZES: dict[str, dict[str, Any]] = {
    'tiny': dict(pixels=256, unet=(32, 64, 64, 64), heads=(2, 4, 4, 4), vae=(16, 32, 32, 32), groups=8, query=48),
    'mid': dict(
        pixels=128, unet=(128, 256, 512, 512), heads=(4, 8, 8, 8), vae=(64, 128, 256, 256), groups=32, query=256
    ),
}
"""Channels of the UNet and the VAE; everything else is Stable Diffusion's."""


def build(size: str, **options: Any) -> nn.Module:
    """A two-stream model of one size with random weights."""
    from mmengine.config import Config

    from mmmtl.models import LatentMultiTaskModel

    tasks = Config.fromfile(ROOT / 'configs/_base_/tasks/stablemtl.py').tasks
    s = SIZES[size]
    torch.manual_seed(0)
    model = LatentMultiTaskModel(
        tasks,
        dict(
            type='KLAutoencoder',
            config=dict(
                block_out_channels=s['vae'],
                norm_num_groups=s['groups'],
                latent_channels=4,
                layers_per_block=2,
                down_block_types=('DownEncoderBlock2D',) * 4,
                up_block_types=('UpDecoderBlock2D',) * 4,
            ),
        ),
        dict(
            block_out_channels=s['unet'],
            attention_head_dim=s['heads'],
            cross_attention_dim=64,
            sample_size=32,
            norm_num_groups=s['groups'],
            use_linear_projection=True,
        ),
        dict(type='LearnedTokens', length=4),
        task_attention=dict(query_width=s['query']),
        **options,
    )
    model.init_weights()
    return optimize_for_inference(model)


def programs(size: str) -> tuple[LatentPair, dict[str, Callable[[], Any]]]:
    """The network and the published program on two frames, and a call of each."""
    model, pixels = build(size), SIZES[size]['pixels']
    frames = torch.randint(0, 256, (1, 2, 3, pixels, pixels), generator=torch.Generator().manual_seed(1))
    pair = LatentPair(model, frames / 255 * 2 - 1)

    def ours() -> dict[str, Tensor]:
        """The network's decoded images, after each task has read its own."""
        images = model(pair.inputs, mode='tensor')
        for name, image in images.items():
            model.tasks[name].from_image(image)
        return images

    return pair, dict(published=pair.run_reference, ours=ours)


def timed(function: Any) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    function()
    return time.process_time() - start


def compare(size: str, repeats: int) -> dict[str, float]:
    """Seconds of both programs (medians), their ratio, and how far their outputs are apart."""
    pair, runs = programs(size)
    runs['ours']()  # warm
    slow, fast = [], []
    for _ in range(repeats):
        slow.append(timed(runs['published']))
        fast.append(timed(runs['ours']))
    # a normal near zero may turn any way: compare what it is made of
    apart = pair.compare_predictions(runs['ours'](), pair.reference.decoded)
    ratios = [a / b for a, b in zip(slow, fast)]
    return dict(
        published_s=statistics.median(slow),
        ours_s=statistics.median(fast),
        ratio=statistics.median(ratios),
        difference=max(apart.values()),
    )


def peak_of(size: str, who: str) -> float:
    """Peak memory in MB of one call beyond what the process holds before; run in a process of its own."""
    from mmmtl.analysis.benchmark import peak_memory
    from mmmtl.ops.allocator import live_memory

    run = programs(size)[1][who]
    with live_memory():
        run()  # what libraries keep after their first call is no part of it
        return statistics.median(peak_memory(run) for _ in range(3)) / 1e6


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('sizes', nargs='*', metavar='SIZE', help='tiny, mid (default: both)')
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--memory', action='store_true')
    parser.add_argument('--out', metavar='FILE', help='numbers of the last size as JSON')
    parser.add_argument('--peak-of', choices=['published', 'ours'], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if unknown := set(args.sizes) - set(SIZES):
        parser.error(f'unknown size {unknown.pop()!r}, choose from {", ".join(SIZES)}')
    torch.set_num_threads(args.threads)
    for size in args.sizes or SIZES:
        if args.peak_of:
            print(json.dumps(peak_of(size, args.peak_of)))
            continue
        found = compare(size, args.repeats)
        if args.memory:
            peaks = {
                who: float(
                    subprocess.run(
                        [sys.executable, __file__, size, '--peak-of', who, '--threads', str(args.threads)],
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout.split()[-1]
                )
                for who in ('published', 'ours')
            }
            found.update(
                published_mb=peaks['published'], ours_mb=peaks['ours'], memory_ratio=peaks['ours'] / peaks['published']
            )
        if args.out:
            Path(args.out).write_text(
                json.dumps({**found, 'other_s': found['published_s'], 'seconds': found['ours_s']})
            )
        print(f'{size} {SIZES[size]["pixels"]} px: ' + ', '.join(f'{k} {v:.4g}' for k, v in found.items()), flush=True)


if __name__ == '__main__':
    main()
