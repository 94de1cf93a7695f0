"""Record a run of the reference transcription of DiffusionMTL, in the form that ``replay.py`` reads.

    python tests/parity/record_diffusionmtl.py tests/data

writes ``diffusionmtl_feature_small.pt`` and ``diffusionmtl_prediction_small.pt``: every eighth pixel of the maps,
weights by the rule of :func:`tests.parity.diffusionmtl.fill`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from benchmarks.reference.diffusionmtl import BUFFERS, DiffusionMTL, Setting, total_loss  # noqa: E402
from tests.parity.diffusionmtl import fill  # noqa: E402

PASCAL = {'semseg': 5, 'human_parts': 4, 'sal': 2, 'normals': 3, 'edge': 1}
LABELLED = [['semseg'], ['human_parts', 'sal'], ['human_parts', 'normals', 'edge']]


def random_batch(setting: Setting, size: tuple[int, int], seed: int) -> dict[str, Any]:
    """Images and labels with unknown pixels; unlabelled maps are zeros, one labelled map knows no pixel at all."""
    generator, count = torch.Generator().manual_seed(seed), len(LABELLED)
    tasks = list(setting.tasks)
    given = torch.tensor([[int(t in row or len(tasks) == 1) for t in tasks] for row in LABELLED])
    image = torch.randn(count, 3, *size, generator=generator).half().float()
    batch: dict[str, Any] = dict(image=image, task_w=given)
    for i, (task, channels) in enumerate(setting.tasks.items()):
        if task in ('normals', 'depth'):
            # as whole eighths, which half precision holds exactly
            label = (torch.randn(count, channels, *size, generator=generator) * 8).round() / 8
        else:
            coarse = torch.randint(0, max(channels, 2), (count, 1, size[0] // 8, size[1] // 8), generator=generator)
            label = F.interpolate(coarse.float(), size)
        unknown = torch.rand(count, 1, *size, generator=generator) < 0.1
        if task == 'human_parts':
            unknown[-1] = True
        label = torch.where(unknown, torch.tensor(255.0), label)
        batch[task] = label * given[:, i, None, None, None]
    return batch


def record(
    setting: Setting,
    size: tuple[int, int] = (64, 96),
    seed: int = 0,
    stride: int = 1,
    dtype: torch.dtype = torch.float32,
) -> dict[str, Any]:
    """Weights by rule, a random batch and noise, and what the transcription makes of them.

    Args:
        setting: The variant.
        size: (H, W), multiples of 32.
        seed: Of images, labels and noise.
        stride: Keep every ``stride``-th pixel of the maps.
        dtype: Of the computation; in double precision the numbers are the same on every processor.
    """
    model, batch = DiffusionMTL(setting), random_batch(setting, size, seed)
    state = model.state_dict()
    keys = {k: tuple(v.shape) for k, v in state.items()}
    schedule = {f'diffusion_model.{n}' for n in BUFFERS}
    model.load_state_dict({k: v if k in schedule else fill(k, tuple(v.shape)) for k, v in state.items()})
    noise = _noise(setting, size, seed)
    images = batch['image'].to(dtype)

    def replayed(kind: str, task: str, sample: int | None, like: Tensor) -> Tensor:
        drawn = noise[kind][task].to(dtype)
        return drawn if sample is None else drawn[sample : sample + 1]

    def thin(x: Tensor) -> Tensor:
        return x.detach()[..., ::stride, ::stride].float().clone()

    model.to(dtype).eval()
    with torch.no_grad():
        evaluated = {t: thin(x) for t, x in model.forward_eval(images, replayed).items()}
    model.train()
    finals, first = model.forward_train(images, batch['task_w'], replayed)
    labels = {t: batch[t].to(dtype) for t in setting.tasks}
    total, logged = total_loss(setting, finals, first, {**batch, **labels})
    total.backward()
    norms = {k: p.grad.norm().item() for k, p in model.named_parameters() if p.grad is not None}
    kept = ('backbone.bn1', f'preliminary_dec.{next(iter(setting.tasks))}.0.bn1')
    return dict(
        meta=dict(
            variant=setting.variant,
            width=setting.width,
            tasks=list(setting.tasks),
            stride=stride,
            dtype=str(dtype)[6:],
            num_output=dict(setting.tasks),
        ),
        keys=keys,
        batch=_compact(batch),
        noise=noise,
        eval=dict(preds=evaluated),
        train=dict(
            preds=[{t: thin(x) for t, x in row.items()} for row in finals],
            inter_preds={t: thin(x) for t, x in first.items()},
            losses={**logged, 'total': total.detach()},
            grad_norm=norms,
            total_grad_norm=sum(n**2 for n in norms.values()) ** 0.5,
            bn_after={
                k: v.clone() for k, v in model.state_dict().items() if k.rpartition('.')[0] in kept and 'running' in k
            },
        ),
    )


def _noise(setting: Setting, size: tuple[int, int], seed: int) -> dict[str, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed + 1)
    kinds = ['q', *(f'p{t}' for t in range(setting.steps - 1, 0, -1))]
    noise = {
        kind: {
            t: torch.randn(
                len(LABELLED),
                setting.width if setting.variant == 'feature' else c,
                size[0] // 8,
                size[1] // 8,
                generator=generator,
            )
            for t, c in setting.tasks.items()
        }
        for kind in kinds
    }
    return {**noise, 'p0': dict.fromkeys(setting.tasks, torch.zeros(len(LABELLED)))}


def _compact(batch: dict[str, Any]) -> dict[str, Any]:
    """Images and labels in half precision or bytes, which hold them exactly."""
    small = {}
    for name, value in batch.items():
        half = name in ('image', 'normals', 'depth')
        small[name] = value if name == 'task_w' else value.half() if half else value.to(torch.uint8)
    return small


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('folder', type=Path)
    args = parser.parse_args()
    for variant in ('feature', 'prediction'):
        setting = Setting(PASCAL, variant, width=12, hidden=16)
        path = args.folder / f'diffusionmtl_{variant}_small.pt'
        torch.save(record(setting, size=(32, 64), seed=3, stride=8, dtype=torch.float64), path)
        print(f'{path}: {path.stat().st_size / 1000:.0f} kB')


if __name__ == '__main__':
    main()
