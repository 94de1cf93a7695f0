"""The TaskDiffusion decoder: any tasks, partial labels, switches, graphs, memory layouts."""

from __future__ import annotations

import copy

import pytest
import torch

from mmmtl.diffusion.noise import GeneratorNoise, RecordedNoise, SampleNoise
from mmmtl.errors import ConfigError
from mmmtl.models import MultiTaskModel
from mmmtl.models.layers.film import ConvBlock
from mmmtl.models.taskdiffusion import CrossTaskDenoiser, CrossTaskLabelEncoder, TaskDiffusionDecoder
from mmmtl.models.taskdiffusion.explain import recorded_steps
from mmmtl.ops import enlarged
from mmmtl.registry import MODELS
from mmmtl.tasks import build_tasks

ALL = dict(
    semseg=dict(type='SemanticSegmentation', classes=5),
    human_parts=dict(type='HumanParts'),
    saliency=dict(type='Saliency'),
    normals=dict(type='SurfaceNormals'),
    boundary=dict(type='Boundary'),
    depth=dict(type='Depth'),
    optical_flow=dict(type='OpticalFlow'),
    scene_flow=dict(type='SceneFlow'),
    albedo=dict(type='Albedo'),
    shading=dict(type='Shading'),
)
SIZE, WIDTH, GRID = (48, 64), 16, (3, 4)
EXPERTS = dict(
    conditions=dict(type='MLoREConditions', grid=GRID, ranks=(2, 3, 4), topk=2, own_rank=4), aux='level_mask'
)


def make(names, levels=3, **options):
    torch.manual_seed(0)
    tasks = build_tasks({n: ALL[n] for n in names})
    return TaskDiffusionDecoder(tasks, [WIDTH] * levels, [16] * levels, **options)


def features(levels=3, batch=3, seed=1, grid=GRID):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, WIDTH, *grid, generator=generator) for _ in range(levels)]


def label(task, count, seed):
    generator = torch.Generator().manual_seed(seed)
    if task.categorical:
        drawn = torch.randint(
            0, 2 if task.code_classes is None else task.code_classes, (count, *SIZE), generator=generator
        )
        return torch.where(torch.rand(count, *SIZE, generator=generator) < 0.1, 255, drawn)
    drawn = torch.rand(count, task.label_channels, *SIZE, generator=generator)
    return torch.where(torch.rand(count, 1, *SIZE, generator=generator) < 0.1, float('nan'), drawn)


def targets(decoder, rows):
    """Labels of the given rows of the batch, per task."""
    return {n: (torch.tensor(index), label(decoder.tasks[n], len(index), 5)) for n, index in rows.items() if index}


SETS = [['semseg', 'depth', 'normals'], ['optical_flow', 'scene_flow'], ['saliency'], ['albedo'], list(ALL)]


@pytest.mark.parametrize('names', SETS, ids=lambda names: '-'.join(names) if len(names) < 4 else 'all')
@pytest.mark.parametrize('variant', ['plain', 'experts'])
def test_any_set_of_tasks_trains_and_predicts(names, variant):
    decoder = make(names, **(EXPERTS if variant == 'experts' else {}))
    feats = [f.requires_grad_() for f in features()]
    losses = decoder.loss(feats, targets(decoder, {n: [0, 1, 2] for n in names}), GeneratorNoise(0), SIZE)
    expected = {f'{p}loss_{n}' for n in names for p in ('', 'aux.')} | (
        {'loss_balance'} if variant == 'experts' else set()
    )
    assert set(losses) == expected
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    silent = [n for n, p in decoder.named_parameters() if p.grad is None]
    assert not silent
    assert all(f.grad is not None and f.grad.abs().sum() > 0 for f in feats)
    decoder.eval()
    with torch.no_grad():
        raw = decoder.predict(features(), SampleNoise(0, ['a', 'b', 'c']), SIZE)
    for name, task in decoder.tasks.items():
        assert raw[name].shape == (3, task.out_channels, 12, 16)
        assert torch.isfinite(raw[name]).all()


def test_unlabelled_tasks_keep_their_losses_and_every_parameter_its_gradient():
    decoder = make(['semseg', 'depth', 'boundary'])
    given = targets(decoder, {'semseg': [0, 2], 'depth': [], 'boundary': [1]})
    losses = decoder.loss(features(), given, GeneratorNoise(0), SIZE)
    assert losses['loss_depth'].item() == 0
    assert losses['aux.loss_depth'].item() == 0
    sum(losses.values()).backward()
    assert not [n for n, p in decoder.named_parameters() if p.grad is None]


def test_missing_labels_equal_labels_that_are_unknown_everywhere():
    decoder = make(['semseg', 'normals', 'boundary'])
    encoder = decoder.label_encoder
    full = targets(decoder, {n: [0, 1, 2] for n in decoder.tasks})
    blank = {}
    for name, (index, labels) in full.items():
        labels = labels.clone()
        labels[1] = 255 if decoder.tasks[name].categorical else float('nan')
        blank[name] = (index, labels)
    partial = {n: (torch.tensor([2, 0]), labels[[2, 0]]) for n, (_, labels) in full.items()}
    assert torch.allclose(encoder.encode_labels(blank, 3, GRID), encoder.encode_labels(partial, 3, GRID), atol=1e-9)


def test_order_of_the_labelled_rows_does_not_matter():
    decoder = make(['semseg', 'depth'])
    encoder = decoder.label_encoder
    full = targets(decoder, {n: [0, 1, 2] for n in decoder.tasks})
    turned = {n: (torch.tensor([1, 2, 0]), labels[[1, 2, 0]]) for n, (_, labels) in full.items()}
    assert torch.equal(encoder.encode_labels(full, 3, GRID), encoder.encode_labels(turned, 3, GRID))


def test_encoded_labels_are_bounded_by_the_scale():
    decoder = make(['semseg', 'depth', 'saliency'], label_encoder=dict(separate=['saliency'], scale=0.02))
    assert decoder.label_encoder.channels == WIDTH + WIDTH // 4
    z = decoder.label_encoder.encode_labels(targets(decoder, {n: [0, 1, 2] for n in decoder.tasks}), 3, GRID)
    assert z.shape == (3, decoder.label_encoder.channels, *GRID)
    assert z.abs().max() <= 0.02


SWITCHES = [
    dict(denoiser=dict(interaction='cross_attention')),
    dict(denoiser=dict(interaction='concat')),
    dict(denoiser=dict(interaction='shared')),
    dict(denoiser=dict(type='TaskSpecificDenoiser'), aux=None),
    dict(denoiser=dict(level_interaction=False)),
    dict(denoiser=dict(level_act='sigmoid')),
    dict(denoiser=dict(post_interact=False)),
    dict(times='discrete'),
    dict(label_encoder=dict(separate=['semseg', 'depth'])),
    dict(steps=1),
    dict(steps=4, time_difference=0),
    dict(upsample=2),
    dict(aux=None),
    dict(upsample=1),
    dict(repeats=2),
]


@pytest.mark.parametrize('switch', SWITCHES, ids=str)
def test_switches_change_the_result_and_leave_no_parameter_idle(switch):
    decoder = make(['semseg', 'depth'], **switch)
    losses = decoder.loss(features(), targets(decoder, {'semseg': [0, 1, 2], 'depth': [1]}), GeneratorNoise(0), SIZE)
    sum(losses.values()).backward()
    assert not [n for n, p in decoder.named_parameters() if p.grad is None]
    plain, decoder = make(['semseg', 'depth']).eval(), decoder.eval()
    own = plain.state_dict()
    plain.load_state_dict(
        {k: v for k, v in decoder.state_dict().items() if k in own and v.shape == own[k].shape}, strict=False
    )
    with torch.no_grad():
        found = decoder.predict(features(), SampleNoise(0, 'abc'), SIZE)['semseg']
        usual = plain.predict(features(), SampleNoise(0, 'abc'), SIZE)['semseg']
    if switch in (dict(times='discrete'), dict(aux=None)):  # they matter in training alone
        assert torch.equal(found, usual)
    else:
        assert found.shape != usual.shape or not torch.equal(found, usual)


def test_discrete_times_are_those_of_the_steps():
    decoder = make(['depth'], times='discrete', steps=4)
    drawn = decoder.draw_times(GeneratorNoise(0), 1000, torch.zeros(1))
    assert set(drawn.tolist()) == {0.0, 0.25, 0.5, 0.75, 1.0}


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(denoiser=dict(interaction='masks')), "Did you mean 'mask'"),
        (dict(denoiser=dict(level_act='relu')), 'softmax'),
        (dict(denoiser=dict(levelact='relu')), "unknown argument 'levelact'"),
        (dict(denoiser=dict(type='TaskSpecificDenoiser')), 'set aux=None'),
        (dict(conditions=dict(type='NoConditions')), 'CrossTaskDenoiser needs conditions'),
        (dict(denoiser=dict(type='TaskSpecificDenoiser'), conditions=dict(type='ConvConditions')), 'does not use'),
        (dict(times='never'), 'discrete'),
        (dict(aux='convs'), "Did you mean 'conv'"),
        (dict(label_encoder=dict(separate=['detph'])), "Did you mean 'depth'"),
        (dict(repeats=0), 'at least 1'),
        (dict(conditions=dict(type='MLoREConditions', grid=GRID, ranks=(2,), topk=2)), 'topk'),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        make(['semseg', 'depth'], **options)


def test_levels_of_different_width_ask_for_a_neck():
    with pytest.raises(ConfigError, match='LevelProjection'):
        TaskDiffusionDecoder(build_tasks({'depth': ALL['depth']}), [16, 32], [16, 16])


def test_experts_are_tied_to_one_size():
    decoder = make(['depth'], **EXPERTS).eval()
    with pytest.raises(ValueError, match='3x4 positions, got 4x4'):
        decoder.predict(features(grid=(4, 4)), SampleNoise(0, 'abc'), (64, 64))


def test_a_batch_of_one_position_is_refused_in_training():
    decoder = make(['depth'])
    given = {'depth': (torch.tensor([0]), torch.rand(1, 1, 16, 16))}
    with pytest.raises(ValueError, match='more than one value per channel'):
        decoder.loss(features(batch=1, grid=(1, 1)), given, GeneratorNoise(0), (16, 16))


def test_prediction_does_not_depend_on_the_batch():
    decoder, feats = make(['semseg', 'depth']).eval(), features()
    with torch.no_grad():
        together = decoder.predict(feats, SampleNoise(0, ['a', 'b', 'c']), SIZE)
        alone = decoder.predict([f[1:2] for f in feats], SampleNoise(0, ['b']), SIZE)
    for name in together:
        assert torch.allclose(together[name][1:2], alone[name], atol=1e-5)


def test_repeats_are_the_mean_of_single_runs():
    single, double = make(['semseg', 'depth']).eval(), make(['semseg', 'depth'], repeats=2).eval()
    double.load_state_dict(single.state_dict())
    z = torch.randn(2, 3, single.label_encoder.channels, *GRID, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (single.predict(features(), RecordedNoise({'start': x}), SIZE) for x in z)
        both = double.predict(features(), RecordedNoise({'start': z[0], 'start.1': z[1]}), SIZE)
    for name in both:
        assert torch.allclose(both[name], (first[name] + second[name]) / 2, atol=1e-6)


def test_recomputed_tails_give_the_same_step():
    kept, again = make(['semseg', 'depth'], recompute_tails=False), make(['semseg', 'depth'])
    again.load_state_dict(kept.state_dict())
    for decoder in (kept, again):
        given = targets(decoder, {'semseg': [0, 1, 2], 'depth': [0, 1]})
        sum(decoder.loss(features(), given, GeneratorNoise(0), SIZE).values()).backward()
    for (name, a), b in zip(kept.named_parameters(), again.parameters()):
        assert torch.allclose(a.grad, b.grad, rtol=1e-4, atol=1e-6), name
    for (name, a), b in zip(kept.named_buffers(), again.buffers()):
        assert torch.allclose(a.float(), b.float()), name
    assert all(m.num_batches_tracked == 1 for m in again.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_recorded_steps_hold_what_each_step_saw():
    decoder = make(['semseg', 'depth'], repeats=2).eval()
    with torch.no_grad(), recorded_steps(decoder) as steps:
        decoder.predict(features(), SampleNoise(0, 'abc'), SIZE)
    assert len(steps) == 6
    for step in steps:
        assert step.noisy.shape == (3, WIDTH, *GRID)
        assert len(step.relation) == 3
        assert all(r.shape == (3, 2, 2, *GRID) and 0 <= r.min() and r.max() <= 1 for r in step.relation)
    single = make(['semseg', 'depth']).eval()
    single.load_state_dict(decoder.state_dict())
    with torch.no_grad():
        raw = single.predict(features(), SampleNoise(0, 'abc'), SIZE)
    assert torch.equal(steps[2].raw['semseg'], raw['semseg'])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in decoder.modules())


def test_the_last_raw_map_is_bounded_by_the_task():
    decoder = make(['depth']).eval()
    with torch.no_grad():
        decoder.branches['depth'].head.bias.fill_(1e4)
        raw = decoder.predict(features(), SampleNoise(0, 'abc'), SIZE)['depth']
    assert raw.min() == raw.max() == 80


def test_bands_equal_the_whole_map(monkeypatch):
    decoder = make(['semseg', 'depth']).eval()
    with torch.no_grad():
        whole = decoder.predict(features(grid=(5, 4)), SampleNoise(0, 'abc'), (80, 64))
        monkeypatch.setattr(enlarged, 'BAND_BYTES', 1)
        banded = decoder.predict(features(grid=(5, 4)), SampleNoise(0, 'abc'), (80, 64))
    for name in whole:
        assert torch.allclose(whole[name], banded[name], atol=1e-5)


def test_prediction_with_and_without_gradient_recording_agree():
    decoder = make(['semseg', 'depth'], **EXPERTS).eval()
    with torch.no_grad():
        fast = decoder.predict(features(), SampleNoise(0, 'abc'), SIZE)
    slow = decoder.predict(features(), SampleNoise(0, 'abc'), SIZE)
    assert slow['semseg'].requires_grad
    for name in fast:
        assert torch.allclose(fast[name], slow[name], rtol=1e-4, atol=1e-5)


@pytest.mark.no_cover
def test_denoising_step_compiles_without_graph_breaks():
    decoder = make(['semseg', 'depth', 'saliency'], label_encoder=dict(separate=['saliency'])).eval()
    noise = SampleNoise(0, 'abc')
    with torch.no_grad():
        expected = decoder.predict(features(), noise, SIZE)
        decoder.step = torch.compile(decoder.step, backend='eager', fullgraph=True)
        decoder.denoise = torch.compile(decoder.denoise, backend='eager', fullgraph=True)
        found = decoder.predict(features(), noise, SIZE)
    for name in expected:
        assert torch.allclose(expected[name], found[name], atol=1e-5)
    torch._dynamo.reset()


def test_bfloat16_autocast_trains_and_stays_close():
    decoder, noise = make(['semseg', 'depth']), SampleNoise(0, 'abc')
    with torch.autocast('cpu', torch.bfloat16):
        losses = decoder.loss(
            features(), targets(decoder, {'semseg': [0, 1, 2], 'depth': [1]}), GeneratorNoise(0), SIZE
        )
        sum(losses.values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in decoder.parameters())
    decoder.eval()
    with torch.no_grad():
        exact = decoder.predict(features(), noise, SIZE)
        with torch.autocast('cpu', torch.bfloat16):
            rough = decoder.predict(features(), noise, SIZE)
    for name in exact:
        assert (exact[name] - rough[name]).norm() < 0.05 * exact[name].norm()


def test_parameters_of_other_precision():
    decoder = make(['semseg', 'depth']).double().eval()
    with torch.no_grad():
        raw = decoder.predict([f.double() for f in features()], SampleNoise(0, 'abc'), SIZE)
    assert raw['depth'].dtype == torch.float64


def test_copies_are_independent_and_keep_the_memory_layout():
    decoder = make(['semseg', 'depth'])
    other = copy.deepcopy(decoder)
    weight = other.branches['depth'].blocks[2].conv3.weight
    assert weight.stride() == decoder.branches['depth'].blocks[2].conv3.weight.stride()
    assert weight.permute(2, 3, 0, 1).is_contiguous()
    assert [n for n, _ in other.named_parameters()] == [n for n, _ in decoder.named_parameters()]


def test_works_under_any_backbone():
    tasks = {n: ALL[n] for n in ('semseg', 'depth')}
    model = MultiTaskModel(
        tasks,
        dict(type='TimmBackbone', model_name='resnet18'),
        dict(type='TaskDiffusionDecoder'),
        neck=dict(type='LevelProjection', channels=16),
    ).eval()
    with torch.no_grad():
        raw = model(torch.randn(1, 3, 64, 96))
    assert raw['semseg'].shape == (1, 5, 64, 96)


class Deeper(CrossTaskDenoiser):
    """One block more per task after the level interaction, and one more before every relation map."""

    def __init__(self, tasks, levels, width, noisy_channels):
        super().__init__(tasks, levels, width, noisy_channels)
        self.more = torch.nn.ModuleDict({n: ConvBlock(width, width) for n in tasks})
        for interaction in self.task_interaction:
            interaction.relation.blocks.insert(0, ConvBlock(width, width))

    def forward(self, z, cache, time):
        return [x + block(x, time) for x, block in zip(super().forward(z, cache, time), self.more.values())]


@pytest.fixture
def deeper():
    MODELS.register_module(name='Deeper', module=Deeper)
    yield
    MODELS.module_dict.pop('Deeper')


def test_a_block_of_a_subclass_has_its_own_modulation(deeper):
    decoder = make(['semseg', 'depth'], denoiser=dict(type='Deeper'))
    losses = decoder.loss(features(), targets(decoder, {'semseg': [0, 1], 'depth': [1]}), GeneratorNoise(0), SIZE)
    sum(losses.values()).backward()
    new = [
        decoder.denoiser.more['depth'],
        decoder.denoiser.task_interaction[0].relation.blocks[0],
        decoder.denoiser.task_interaction[0].relation.blocks[2],
    ]
    assert all(block.norm.film.weight.grad.abs().sum() > 0 for block in new)
    decoder.eval()
    with torch.no_grad():
        before = decoder.predict(features(), SampleNoise(0, 'abc'), SIZE)
        for block in new:
            kept = block.norm.film.bias.clone()
            block.norm.film.bias += 0.5
            after = decoder.predict(features(), SampleNoise(0, 'abc'), SIZE)
            assert not torch.allclose(before['depth'], after['depth'], atol=1e-5)
            block.norm.film.bias.copy_(kept)


def test_a_norm_without_its_time_is_refused():
    with pytest.raises(ValueError, match='without a time embedding'):
        ConvBlock(4, 4)(torch.zeros(1, 4, 3, 3))
    with pytest.raises(ValueError, match='nothing would use it'):
        ConvBlock(4)(torch.zeros(1, 4, 3, 3), torch.zeros(1, 4))


def test_a_single_task_has_no_relation_map_and_still_denoises():
    decoder = make(['normals']).eval()
    assert not any('relation' in name for name in decoder.state_dict())
    with torch.no_grad():
        raw = [decoder.predict(features(), SampleNoise(seed, 'abc'), SIZE)['normals'] for seed in range(2)]
    assert not torch.allclose(raw[0], raw[1], atol=1e-5)
    assert any('relation' in name for name in make(['normals'], denoiser=dict(interaction='mask')).state_dict())


def test_task_specific_denoisers_see_no_other_task():
    options = dict(denoiser=dict(type='TaskSpecificDenoiser'), aux=None)
    decoder = make(['semseg', 'depth'], label_encoder=dict(separate=['semseg', 'depth']), **options).eval()
    assert not list(decoder.conditions.parameters())
    feats = [f.requires_grad_() for f in features()]
    decoder.predict(feats, SampleNoise(0, 'abc'), SIZE)['depth'].sum().backward()
    own, others = (
        [p.grad for n, p in decoder.denoiser.named_parameters() if f'.{task}.' in n] for task in ('depth', 'semseg')
    )
    assert all(g is not None for g in own) and len(own) == len(others)


class Blank(CrossTaskLabelEncoder):
    """A label encoder that forgets."""

    def combine(self, codes):
        return super().combine(codes) * 0


def test_the_label_encoder_is_chosen_by_its_type():
    MODELS.register_module(name='Blank', module=Blank)
    try:
        decoder = make(['semseg', 'depth'], label_encoder=dict(type='Blank', scale=0.5))
    finally:
        MODELS.module_dict.pop('Blank')
    assert type(decoder.label_encoder) is Blank and decoder.label_encoder.scale == 0.5
    assert not decoder.label_encoder.encode_labels(targets(decoder, {'depth': [0]}), 3, GRID).any()
