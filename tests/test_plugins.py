"""The recipe of docs/plugins.md, executed: install its package, train every decoder on its task."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmmtl import apis
from mmmtl.apis import Inferencer
from mmmtl.config import load_config
from mmmtl.models.baselines import PlainDecoder
from mmmtl.models.decoder import Decoder
from mmmtl.models.layers.film import ConvBlock
from mmmtl.models.taskdiffusion import CrossTaskDenoiser
from mmmtl.registry import DATASETS, MODELS, TASKS

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / 'docs' / 'plugins.md'

NECKS = {
    'DiffusionMTLDecoder': [dict(type='ConcatFusion', channels=12)],
    **{name: [None] for name in ('InvPTDecoder', 'MTINetDecoder', 'TSPDecoder', 'TaskPrompterDecoder')},
}
"""Decoders that want something else than projected levels of one width."""
PAIRS = ('XTC', 'JTR', 'MTINetDecoder')
"""What compares tasks, and needs two."""
ARGUMENTS = {
    'DiffusionMTLDecoder': dict(denoiser=dict(type='CrossDenoiser', hidden=16, depth=1, heads=2, token_scale=1)),
    'XTC': dict(decoder=dict(type='PlainDecoder', channels=12, num_blocks=1), filters=(4, 4, 4, 4, 4)),
    'PlainDecoder': dict(channels=12, num_blocks=1),
    'ATRCSearchDecoder': dict(steps=4),
    'DecodeHeads': dict(head=dict(type='mmseg.FCNHead', channels=8, num_convs=1, norm_cfg=dict(type='BN'))),
    'InvPTDecoder': dict(channels=8, extra_channels=8),
    'JTR': dict(decoder=dict(type='PlainDecoder', channels=12, num_blocks=1), filters=(4, 4, 4, 4, 4), views=1),
    'MLoREDecoder': dict(
        conditions=dict(type='MLoREConditions', grid=(4, 4), ranks=(1, 2), topk=1, own_rank=2, balance_weight=0.0)
    ),
    'TSPDecoder': dict(channels=8, extra_channels=8),
    'TaskPrompterDecoder': dict(channels=8, width=8),
}
VIT = dict(
    type='TimmBackbone',
    model_name='vit_tiny_patch16_224',
    img_size=(32, 32),
    patch_size=8,
    embed_dim=24,
    depth=2,
    num_heads=2,
    out_indices=(0, 1),
)
FOUR_LEVELS = dict(VIT, depth=4, out_indices=(0, 1, 2, 3))


def backbone_of(decoder, tasks):
    """A backbone that the decoder can work with."""
    return {
        'InvPTDecoder': FOUR_LEVELS,
        'MTINetDecoder': dict(type='TimmBackbone', model_name='resnet10t'),
        'TSPDecoder': dict(FOUR_LEVELS, type='TaskPromptViT', prompt_layers=2, tasks=list(tasks)),
        'TaskPrompterDecoder': dict(FOUR_LEVELS, type='PromptedViT', tasks=list(tasks)),
    }.get(decoder, VIT)


def files_of_recipe() -> dict[str, str]:
    """``{path: content}`` of the code blocks, each announced by a line that begins with its path."""
    text = RECIPE.read_text(encoding='utf-8')
    return dict(re.findall(r'^`([\w/.]+)`[^\n]*\n\n```\w+\n(.*?)^```', text, re.MULTILINE | re.DOTALL))


def decoders() -> list[str]:
    """Names of all decoders of this package."""
    import mmmtl.models  # noqa: F401

    return sorted(
        n
        for n, c in MODELS.module_dict.items()
        if isinstance(c, type) and issubclass(c, Decoder) and c.__module__.startswith('mmmtl.')
    )


@pytest.fixture(scope='module')
def plugin(tmp_path_factory):
    """The package, installed by pip into a folder that is put on the path; taken out again afterwards."""
    folder = tmp_path_factory.mktemp('plugin')
    for name, content in files_of_recipe().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding='utf-8')
    (folder / 'configs').symlink_to(ROOT / 'configs')
    target = folder / 'installed'
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'install',
            '-q',
            '--no-deps',
            '--no-build-isolation',
            '--no-index',
            '--disable-pip-version-check',
            '--target',
            str(target),
            str(folder / 'heat'),
        ],
        check=True,
    )
    sys.path.insert(0, str(target))
    yield folder
    sys.path.remove(str(target))
    sys.modules.pop('heat', None)
    for registry in (TASKS, DATASETS, MODELS):
        for name in [n for n, c in registry.module_dict.items() if c.__module__ == 'heat']:
            registry.module_dict.pop(name)


def quick(iterations=1, **options):
    """Options that make the recipe's config train for a moment."""
    return {'max_iters': iterations, 'param_scheduler': None, 'default_hooks.logger.interval': 1, **options}


def test_the_recipe_is_short_and_complete():
    assert len(RECIPE.read_text(encoding='utf-8').splitlines()) < 80
    assert list(files_of_recipe()) == ['heat/pyproject.toml', 'heat/heat/__init__.py', 'heat/config.py']
    assert {'PlainDecoder', 'TaskDiffusionDecoder', 'DiffusionMTLDecoder'} <= set(decoders())


def test_the_package_is_found_by_its_entry_point_and_trains_as_written(plugin, tmp_path):
    before = set(TASKS.module_dict)
    cfg = load_config(plugin / 'heat' / 'config.py', quick(2))
    assert 'Temperature' not in before and 'Temperature' in TASKS.module_dict
    runner = apis.train(cfg, str(tmp_path))
    assert runner.message_hub.get_scalar('train/loss_temperature').current() > 0
    metrics = apis.test(cfg, str(tmp_path / 'iter_2.pth'), str(tmp_path), show_dir=str(tmp_path / 'panels'))
    assert metrics['temperature/RMSE'] > 0
    assert len(list((tmp_path / 'panels').glob('*.png'))) == 8
    result = Inferencer(cfg, str(tmp_path / 'iter_2.pth'))(torch.zeros(32, 64, 3, dtype=torch.uint8).numpy())[0]
    assert result.pred['temperature'].shape == (1, 32, 64)


@pytest.mark.parametrize('decoder', decoders())
def test_every_decoder_trains_on_the_new_task(plugin, tmp_path, decoder):
    cfg = load_config(plugin / 'heat' / 'config.py', quick())
    if decoder in PAIRS:
        twice = dict(temperature=dict(type='Temperature'), warmth=dict(type='Temperature', source='temperature'))
        cfg.model.tasks = twice
        for split in ('train', 'val', 'test'):
            cfg[f'{split}_dataloader'].dataset.tasks = twice
    cfg.model.backbone = backbone_of(decoder, cfg.model.tasks)
    cfg.model.neck = NECKS.get(decoder, [dict(type='LevelProjection', channels=12)])[0]
    cfg.model.decoder = dict(type=decoder, **ARGUMENTS.get(decoder, {}))
    runner = apis.train(cfg, str(tmp_path))
    losses = [runner.message_hub.get_scalar(f'train/loss_{task}').current() for task in cfg.model.tasks]
    assert all(loss > 0 for loss in losses), losses
    trained = runner.model.state_dict()
    start = apis.build_model(cfg).state_dict()
    assert any(not torch.equal(trained[k], start[k]) for k in start if k.startswith('decoder.'))


def test_a_denoiser_with_one_block_more_trains_with_a_modulation_of_its_own(plugin, tmp_path):
    class OneBlockMore(CrossTaskDenoiser):
        def __init__(self, tasks, levels, width, noisy_channels):
            super().__init__(tasks, levels, width, noisy_channels)
            self.more = torch.nn.ModuleDict({n: ConvBlock(width, width) for n in tasks})

        def forward(self, z, cache, time):
            return [x + block(x, time) for x, block in zip(super().forward(z, cache, time), self.more.values())]

    MODELS.register_module(name='OneBlockMore', module=OneBlockMore)
    try:
        cfg = load_config(plugin / 'heat' / 'config.py', quick())
        cfg.model.backbone, cfg.model.neck = VIT, dict(type='LevelProjection', channels=12)
        cfg.model.decoder = dict(type='TaskDiffusionDecoder', denoiser=dict(type='OneBlockMore'))
        runner = apis.train(cfg, str(tmp_path))
        trained, start = runner.model.state_dict(), apis.build_model(cfg).state_dict()
    finally:
        MODELS.module_dict.pop('OneBlockMore')
    films = [k for k in start if '.denoiser.more.' in k and '.film.' in k]
    assert films and not any(torch.equal(trained[k], start[k]) for k in films)


def test_a_decoder_may_have_a_typed_mapping_of_its_own(plugin, tmp_path):
    class Scheduled(PlainDecoder):
        def __init__(self, tasks, in_channels, strides, schedule):
            super().__init__(tasks, in_channels, strides, channels=12, num_blocks=1)
            self.kind, self.steps = schedule['type'], schedule['steps']

    MODELS.register_module(name='Scheduled', module=Scheduled)
    try:
        cfg = load_config(plugin / 'heat' / 'config.py', quick())
        cfg.model.backbone, cfg.model.neck = VIT, dict(type='LevelProjection', channels=12)
        cfg.model.decoder = dict(type='Scheduled', schedule=dict(type='cosine', steps=10))
        runner = apis.train(cfg, str(tmp_path))
    finally:
        MODELS.module_dict.pop('Scheduled')
    assert (runner.model.decoder.kind, runner.model.decoder.steps) == ('cosine', 10)


@pytest.mark.parametrize('decoder', [d for d in decoders() if d in {*ARGUMENTS, 'TaskDiffusionDecoder', 'ConvHeads'}])
def test_a_task_of_two_classes_and_one_of_many_channels_train_with_a_decoder(decoder):
    from mmmtl.models import MultiTaskModel
    from mmmtl.tasks import ContinuousTask, SemanticSegmentation

    class Occupied(SemanticSegmentation):
        """A place is free or occupied."""

        def __init__(self, name=None, **options):
            super().__init__(name, classes=('free', 'occupied'), palette=((0, 0, 0), (255, 255, 255)), **options)

    class Keypoints(ContinuousTask):
        """A map of heat per kind of keypoint, (5, H, W)."""

        default_name, primary_metric, value_range = 'keypoints', 'RMSE', (0.0, 1.0)
        channels = 5

        def default_metric(self):
            return dict(type='ImageError')

    torch.manual_seed(0)
    tasks = dict(occupied=Occupied('occupied'), keypoints=Keypoints('keypoints'))
    neck = NECKS.get(decoder, [dict(type='LevelProjection', channels=12)])[0]
    model = MultiTaskModel(
        tasks, backbone_of(decoder, tasks), dict(type=decoder, **ARGUMENTS.get(decoder, {})), neck=neck
    ).train()
    index, generator = torch.tensor([0, 1]), torch.Generator().manual_seed(1)
    keypoints = torch.rand(2, 5, 32, 32, generator=generator)
    keypoints[0, :, :4] = float('nan')
    occupied = torch.randint(0, 2, (2, 32, 32), generator=generator)
    occupied[1, 8:] = 255
    targets = dict(occupied=(index, occupied), keypoints=(index, keypoints))
    losses = model(torch.randn(2, 3, 32, 32, generator=generator), mode='loss', targets=targets)
    assert all(losses[f'loss_{name}'] > 0 for name in tasks)
    sum(losses.values()).backward()
    without = [n for n, p in model.decoder.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert without == []
    with torch.no_grad():
        raw = model.eval()(torch.randn(1, 3, 32, 32, generator=generator))
    assert raw['occupied'].shape == (1, 2, 32, 32) and raw['keypoints'].shape == (1, 5, 32, 32)
    assert not raw['keypoints'].std() == 0
