"""Record a run of the reference transcription of TaskDiffusion, in the form that ``replay.py`` reads.

python tests/parity/record_taskdiffusion.py tests/data/taskdiffusion_small.pt
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

from benchmarks.reference.taskdiffusion import DISCRETE, ReferenceTaskDiffusion, Setting, randomize  # noqa: E402
from tests.parity.common import cast  # noqa: E402

PASCAL = {'semseg': 5, 'human_parts': 7, 'sal': 2, 'normals': 3, 'edge': 1}
NYUD = {'semseg': 6, 'depth': 1, 'normals': 3, 'edge': 1}
WEIGHTS = {
    'semseg': 1.0,
    'human_parts': 2.0,
    'sal': 5.0,
    'depth': 1.0,
    'normals': 10.0,
    'edge': 50.0,
    'load_balancing': 3e-4,
}


def small_setting(tasks: dict[str, int], mlore: bool = False, **changes: Any) -> Setting:
    """A variant of toy size: 32x48 pixels, four ViT blocks."""
    return Setting(
        **{
            **dict(
                tasks=tasks,
                size=(32, 48),
                width=8,
                vit_dim=24,
                vit_depth=4,
                vit_heads=3,
                blocks=(1, 2, 3),
                loss_weights=WEIGHTS,
                ranks=(2, 3, 4, 5) if mlore else (),
                topk=2,
                special_rank=6,
                aux_weight=0.25,
            ),
            **changes,
        }
    )


def random_batch(setting: Setting, seed: int, batch: int = 2) -> tuple[Tensor, dict[str, Tensor]]:
    """Images and labels with unknown pixels, unknown borders and, in sample 1, blocks of unknown cells."""
    generator = torch.Generator().manual_seed(seed)
    height, width = setting.size
    image = torch.randn(batch, 3, height, width, generator=generator)
    targets = {}
    for task, channels in setting.tasks.items():
        if task in DISCRETE or task == 'edge':
            label = torch.randint(0, max(channels, 2), (batch, 1, height // 4, width // 4), generator=generator).float()
            label = F.interpolate(label, (height, width))
        elif task == 'depth':
            label = torch.rand(batch, 1, height, width, generator=generator) * 8 + 0.5
        else:
            label = F.normalize(torch.randn(batch, channels, height, width, generator=generator), dim=1)
        unknown = torch.rand(batch, 1, height, width, generator=generator) < 0.1
        unknown[:, :, :3], unknown[1, :, :, width // 2 :] = True, True
        targets[task] = torch.where(unknown, torch.tensor(0.0 if task == 'depth' else 255.0), label)
    return image, targets


class Tape:
    """Draws and remembers them; stands in for ``Setting.draws``."""

    def __init__(self, setting: Setting, seed: int) -> None:
        torch.manual_seed(seed)
        self.taken: list[tuple[str, Tensor]] = []
        setting.draw = self.draw

    def draw(self, make) -> Tensor:
        """A fresh draw, remembered."""
        self.taken.append(('draw', make()))
        return self.taken[-1][1].clone()


def config_of(setting: Setting) -> dict:
    """The setting under the published configuration's names."""
    discrete = {t: c if t in DISCRETE else -1 for t, c in setting.tasks.items()}
    cfg = dict(
        model='TaskDiffusion_mlore' if setting.ranks else 'TaskDiffusion',
        final_embed_dim=setting.width,
        timesteps=setting.steps,
        randsteps=setting.repeats,
        aux_weight=setting.aux_weight,
        edge_w=setting.edge_weight,
        bit_scales=dict(all=setting.scale),
        loss_kwargs=dict(loss_weights=dict(setting.loss_weights)),
        TASKS=dict(
            NAMES=list(setting.tasks),
            NUM_CLASSES=discrete,
            depth_max=80.0,
            NUM_OUTPUTS={t: -1 if t in DISCRETE else c for t, c in setting.tasks.items()},
        ),
        TRAIN=dict(SCALE=list(setting.size)),
        special_rank=setting.special_rank,
    )
    return cfg | (dict(rank_list=list(setting.ranks), topk=setting.topk) if setting.ranks else {})


def record(setting: Setting, seed: int = 0, thin: int = 1) -> dict:
    """One prediction and one training step of the reference; large maps keep every ``thin``-th pixel."""
    model = ReferenceTaskDiffusion(setting)
    randomize(model, seed)
    model.double()  # the same numbers on every processor
    image, targets = cast(random_batch(setting, seed), torch.float64)
    data: dict[str, Any] = dict(
        cfg=config_of(setting),
        state_seed=seed,
        image=image,
        targets=targets,
        stride=thin,
        vit=dict(
            embed_dim=setting.vit_dim,
            depth=setting.vit_depth,
            num_heads=setting.vit_heads,
            patch_size=16,
            select_list=list(setting.blocks),
        ),
    )
    heads, probe = model.heads, {'zt_level0_in': [], 'logits': []}
    denoise = heads.denoise

    def observed(levels, z, time, conditions, up):
        logits = denoise(levels, z, time, conditions, up)
        probe['zt_level0_in'].append(z.clone())
        stride = thin if up else 1
        probe['logits'] += [(t, x[..., ::stride, ::stride].clone()) for t, x in logits.items()]
        return logits

    model.eval()
    tape = Tape(setting, seed)
    heads.denoise = observed
    with torch.no_grad():
        outputs = model.predict(image)
    del heads.denoise
    data['eval'] = dict(tape=tape.taken, outputs=_thinned(outputs, thin), probe=probe)
    model.train()
    tape = Tape(setting, seed + 1)
    logits, aux, _ = model.train_outputs(image, targets)
    randomize(model, seed)  # the statistics as they were
    setting.draws, setting.draw = [draw for _, draw in tape.taken], type(setting).draw.__get__(setting)
    total, main, side, balance = model.losses(image, targets)
    total.backward()
    gradients = {n: p.grad for n, p in model.named_parameters()}
    data['train'] = dict(
        tape=tape.taken,
        logits=_thinned(logits, thin),
        aux_logits=_thinned(aux, thin),
        total=total.detach(),
        loss=_plain(main) | ({'cv': balance.detach()} if setting.ranks else {}),
        aux_loss=_plain(side),
        grad_norm=torch.stack([g.norm() for g in gradients.values()]).norm(),
        grads={n: g for n, g in gradients.items() if g.numel() <= 4096 // thin**2},
        bn_after={n: v for n, v in model.state_dict().items() if 'running' in n or 'num_batches' in n},
    )
    return data


def _thinned(maps: dict[str, Tensor], thin: int) -> dict[str, Tensor]:
    return {t: x.detach()[..., ::thin, ::thin].clone() for t, x in maps.items()}


def _plain(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    return {t: x.detach() for t, x in losses.items()}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('file', type=Path)
    path = parser.parse_args().file
    data = record(small_setting(PASCAL), thin=8)
    # few but whole: every parameter of one level and one task, and everything that is shared
    data['train']['grads'] = {
        n: g
        for n, g in data['train']['grads'].items()
        if g.numel() <= 64
        and not any(f'.{i}.' in n for i in (1, 2))
        and not any(f'.{t}.' in n for t in ('human_parts', 'edge'))
    }
    data['train']['bn_after'] = {n: v for n, v in data['train']['bn_after'].items() if '.normals.' in n or 'share' in n}
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(data, path)
    print(f'{path}: {path.stat().st_size / 1024:.0f} kB')


if __name__ == '__main__':
    main()
