"""The TaskDiffusion decoder: any tasks, partial labels, switches, graphs, memory layouts."""

from __future__ import annotations

import copy

import pytest
import torch

from mmmtl.diffusion.noise import GeneratorNoise, RecordedNoise, SampleNoise
from mmmtl.errors import ConfigError
from mmmtl.models import MultiTaskModel
from mmmtl.models.taskdiffusion import TaskDiffusionDecoder
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
    decoder = make(['semseg', 'depth', 'saliency'], separate_codes=['saliency'], scale=0.02)
    assert decoder.label_encoder.channels == WIDTH + WIDTH // 4
    z = decoder.label_encoder.encode_labels(targets(decoder, {n: [0, 1, 2] for n in decoder.tasks}), 3, GRID)
    assert z.shape == (3, decoder.label_encoder.channels, *GRID)
    assert z.abs().max() <= 0.02


SWITCHES = [
    dict(interaction='cross_attention'),
    dict(interaction='concat'),
    dict(interaction='task_specific'),
    dict(level_interaction=False),
    dict(level_act='sigmoid'),
    dict(post_interact=False),
    dict(times='discrete'),
    dict(separate_codes=['semseg', 'depth']),
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
        (dict(interaction='masks'), "Did you mean 'mask'"),
        (dict(level_act='relu'), 'softmax'),
        (dict(times='never'), 'discrete'),
        (dict(aux='convs'), "Did you mean 'conv'"),
        (dict(separate_codes=['detph']), "Did you mean 'depth'"),
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


def test_trace_holds_what_each_step_saw():
    decoder, trace = make(['semseg', 'depth']).eval(), []
    with torch.no_grad():
        raw = decoder.predict(features(), SampleNoise(0, 'abc'), SIZE, trace=trace)
    assert len(trace) == 1
    assert len(trace[0]) == 3
    for step in trace[0]:
        assert step['noisy'].shape == (3, WIDTH, *GRID)
        assert len(step['relation']) == 3
        assert all(r.shape == (3, 2, 2, *GRID) and 0 <= r.min() and r.max() <= 1 for r in step['relation'])
    assert torch.equal(trace[0][-1]['raw']['semseg'], raw['semseg'])


def test_the_last_raw_map_is_bounded_by_the_task():
    decoder = make(['depth']).eval()
    with torch.no_grad():
        decoder.heads['depth'].bias.fill_(1e4)
        raw = decoder.predict(features(), SampleNoise(0, 'abc'), SIZE)['depth']
    assert raw.min() == raw.max() == 80


def test_bands_equal_the_whole_map(monkeypatch):
    from mmmtl.models.taskdiffusion import heads as taskdiffusion_tails

    decoder = make(['semseg', 'depth']).eval()
    with torch.no_grad():
        whole = decoder.predict(features(grid=(5, 4)), SampleNoise(0, 'abc'), (80, 64))
        monkeypatch.setattr(taskdiffusion_tails, 'BAND_BYTES', 1)
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


def test_denoising_step_compiles_without_graph_breaks():
    decoder = make(['semseg', 'depth', 'saliency'], separate_codes=['saliency']).eval()
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
    weight = other.refine[2]['depth'].conv3.weight
    assert weight.stride() == decoder.refine[2]['depth'].conv3.weight.stride()
    assert weight.permute(2, 3, 0, 1).is_contiguous()
    assert {id(n) for n in other.film_norms}.isdisjoint(id(n) for n in decoder.film_norms)
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


def test_exchange_between_tasks_as_one_product_equals_the_written_sum():
    from mmmtl.models.taskdiffusion.denoiser import mix_tasks
    from mmmtl.ops.convolution import stack_maps

    relation = torch.rand(2, 3, 3, *GRID)
    conditions = [torch.randn(2, WIDTH, *GRID).contiguous(memory_format=torch.channels_last) for _ in range(3)]
    together = mix_tasks(relation, stack_maps(conditions))
    for found, expected in zip(mix_tasks(relation, conditions), together):
        assert torch.allclose(found, expected, atol=1e-5)
