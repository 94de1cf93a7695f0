"""DiffusionMTL against recorded runs and the literal transcription; its contract, options and ablations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.reference.diffusionmtl import Setting
from mmmtl.diffusion.noise import GeneratorNoise, RecordedNoise
from mmmtl.errors import ConfigError
from mmmtl.models import MultiTaskModel
from mmmtl.structures import MTLDataSample
from tests.parity import diffusionmtl
from tests.parity.record_diffusionmtl import PASCAL, record
from tests.parity.replay import replay_file

DATA = Path(__file__).parents[1] / 'data'
TASKS = dict(
    semseg=dict(type='SemanticSegmentation', classes=4),
    depth=dict(type='Depth', loss_weight=2.0),
    normals=dict(type='SurfaceNormals', loss_weight=3.0),
)
PUBLISHED = dict(
    semseg=dict(type='SemanticSegmentation', classes=21),
    human_parts=dict(type='HumanParts'),
    saliency=dict(type='Saliency'),
    normals=dict(type='SurfaceNormals'),
    boundary=dict(type='Boundary'),
)


def model_of(tasks=TASKS, width=16, backbone='resnet18', neck=True, hidden=16, **options) -> MultiTaskModel:
    torch.manual_seed(0)
    denoiser = dict(type='CrossDenoiser', hidden=hidden, **options.pop('denoiser', {}))
    fusion = dict(type='ConcatFusion', channels=width, stride=8) if neck else None
    decoder = dict(type='DiffusionMTLDecoder', denoiser=denoiser, **options)
    return MultiTaskModel(tasks, dict(type='TimmBackbone', model_name=backbone), decoder, neck=fusion)


def targets_of(rows: dict[str, list[int]], size=(64, 64)) -> dict:
    generator = torch.Generator().manual_seed(1)
    made = dict(
        semseg=lambda n: torch.randint(0, 4, (n, *size), generator=generator),
        depth=lambda n: torch.rand(n, 1, *size, generator=generator) + 1,
        normals=lambda n: torch.nn.functional.normalize(torch.randn(n, 3, *size, generator=generator), dim=1),
    )
    return {name: (torch.tensor(index), made[name](len(index))) for name, index in rows.items()}


def failures(results):
    return [r for r in results if not r[1] <= r[2]]


# ---- parity ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('variant', ['feature', 'prediction'])
def test_small_recording_of_the_clone(variant):
    method, results = replay_file(DATA / f'diffusionmtl_{variant}_small.pt')
    assert method == 'diffusionmtl' and len(results) > 30
    assert not failures(results)


@pytest.mark.parametrize(
    ('variant', 'options'),
    [
        ('feature', dict(steps=3)),
        ('prediction', dict(steps=1)),
        ('prediction', dict(steps=3)),
        ('feature', dict(tasks={'semseg': 4})),
        ('prediction', dict(tasks={'depth': 1, 'normals': 3})),
    ],
)
def test_equals_the_transcription(variant, options):
    setting = Setting(**{'tasks': PASCAL, 'variant': variant, 'width': 8, 'hidden': 12, **options})
    results = diffusionmtl.replay(record(setting, size=(32, 64), seed=5, dtype=torch.float64))
    assert len(results) > 10 and not failures(results)


def test_replay_notices_another_noise():
    data = torch.load(DATA / 'diffusionmtl_feature_small.pt', weights_only=True)
    data['noise']['p1']['edge'] = data['noise']['p1']['edge'] * 1.01
    wrong = [name for name, _, _ in failures(diffusionmtl.replay(data))]
    assert 'eval edge' in wrong and not any('semseg' in name for name in wrong)


@pytest.mark.slow
@pytest.mark.parametrize('variant', ['feature', 'prediction'])
def test_recordings_of_the_published_program(shared_dir, variant):
    data = torch.load(shared_dir / 'golden' / f'diffusionmtl_{variant}_full.pt', weights_only=True)
    assert not failures(diffusionmtl.replay(data))


# ---- sizes -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ('options', 'count'),
    [
        (dict(mode='feature'), 132_913_284),
        (dict(mode='prediction'), 132_913_284),
        (dict(mode='prediction', condition='both'), 133_069_956),
        (dict(mode='prediction', condition='predictions'), 121_273_476),
    ],
)
def test_parameter_counts_of_the_paper(options, count):
    with torch.device('meta'):
        model = model_of(PUBLISHED, width=512, hidden=512, **options)
    assert sum(p.numel() for p in model.parameters()) == count


def test_multitask_baseline_of_the_paper():
    with torch.device('meta'):
        model = MultiTaskModel(
            PUBLISHED,
            dict(type='TimmBackbone', model_name='resnet18'),
            dict(type='PlainDecoder', channels=512, num_blocks=6),
            neck=dict(type='ConcatFusion', channels=512),
        )
    assert sum(p.numel() for p in model.parameters()) == 157_237_346


# ---- contract --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('mode', ['feature', 'prediction'])
@pytest.mark.parametrize('rows', [{}, {'depth': [1]}, {'semseg': [0, 1], 'depth': [0], 'normals': [1]}])
def test_every_parameter_has_a_gradient_whoever_is_labelled(mode, rows):
    model = model_of(mode=mode).train()
    losses = model(torch.randn(2, 3, 64, 64), mode='loss', targets=targets_of(rows))
    assert set(losses) == {f'{p}loss_{n}' for n in TASKS for p in ('', 'aux.')}
    sum(losses.values()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert not without or (not rows and all(n.startswith(('backbone', 'neck')) for n in without))
    for name in set(TASKS) - set(rows):
        assert losses[f'loss_{name}'] == 0 and losses[f'aux.loss_{name}'] == 0
        assert all(p.grad.abs().sum() == 0 for p in model.decoder.denoiser.refiners[name].parameters())


@pytest.mark.parametrize('mode', ['feature', 'prediction'])
def test_pairs_in_one_batch_are_pairs_one_by_one(mode):
    """The losses of a batch are the sum over its (sample, task) pairs denoised alone, with the same noise."""
    model = model_of(mode=mode, loss_reduction='sample').double().train()
    decoder = model.decoder
    feats = [torch.randn(3, 16, 8, 8, dtype=torch.float64)]
    rows = {'semseg': [0, 2], 'depth': [1], 'normals': [0, 1]}
    targets = targets_of(rows)
    shapes = {n: 16 if mode == 'feature' else decoder.tasks[n].out_channels for n in TASKS}
    noise = {f'{k}.{n}': torch.randn(3, c, 8, 8, dtype=torch.float64) for k in ('q', 'p1') for n, c in shapes.items()}
    together = decoder.loss(feats, targets, RecordedNoise(noise), (64, 64))
    for name, index in rows.items():
        alone = [
            decoder.loss(
                feats,
                {name: (targets[name][0][i : i + 1], targets[name][1][i : i + 1])},
                RecordedNoise(noise),
                (64, 64),
            )
            for i in range(len(index))
        ]
        for key in (f'loss_{name}', f'aux.loss_{name}'):
            assert together[key].item() == pytest.approx(sum(a[key] for a in alone).item(), rel=1e-6)


def test_every_image_weighs_the_same():
    """The balanced reduction: T / L times the sum over the L labelled tasks of an image, averaged over images."""
    plain, balanced = model_of(loss_reduction='sample').eval(), model_of(loss_reduction='balanced').eval()
    images = torch.randn(2, 3, 64, 64)
    targets = targets_of({'semseg': [0, 1], 'normals': [1]})
    noise = {f'{k}.{n}': torch.randn(2, 16, 8, 8) for k in ('q', 'p1') for n in TASKS}

    def losses(model, targets):
        return model(images, mode='loss', targets=targets, noise=noise)

    found = losses(balanced, targets)
    first = losses(plain, {'semseg': (torch.tensor([0]), targets['semseg'][1][:1])})['loss_semseg']
    second = losses(plain, {'semseg': (torch.tensor([1]), targets['semseg'][1][1:])})['loss_semseg']
    assert found['loss_semseg'].item() == pytest.approx((3 * first + 3 / 2 * second).item(), rel=1e-5)
    assert found['loss_normals'].item() == pytest.approx(1.5 * losses(plain, targets)['loss_normals'].item(), rel=1e-5)


def test_intermediate_weight_scales_the_initial_losses():
    images, targets = torch.randn(2, 3, 64, 64), targets_of({'depth': [0, 1]})
    values = [
        model_of(intermediate_weight=w).eval()(images, mode='loss', targets=targets)['aux.loss_depth'].item()
        for w in (0.5, 2.0)
    ]
    assert values[1] == pytest.approx(4 * values[0], rel=1e-6)


def test_unlabelled_tasks_are_not_denoised_and_leave_no_graph():
    model = model_of().train()
    seen = {n: [] for n in TASKS}
    for name, head in model.decoder.denoiser.heads.items():
        head.register_forward_hook(lambda m, i, o, name=name: seen[name].append(len(o)))
    graphs = {}
    for name, branch in model.decoder.preliminary.items():
        branch.register_forward_hook(lambda m, i, o, name=name: graphs.__setitem__(name, o.requires_grad))
    model(torch.randn(2, 3, 64, 64), mode='loss', targets=targets_of({'depth': [1]}))
    assert seen == {'semseg': [], 'depth': [1], 'normals': []}
    assert graphs == {'semseg': False, 'depth': True, 'normals': False}


def test_condition_is_computed_once():
    model, calls = model_of(num_steps=3).eval(), []
    model.decoder.combine.register_forward_hook(lambda *a: calls.append('combine'))
    model.decoder.denoiser.blocks[0].query.register_forward_hook(lambda *a: calls.append('queries'))
    model.decoder.denoiser.blocks[1].query.register_forward_hook(lambda *a: calls.append('later'))
    with torch.no_grad():
        model(torch.randn(2, 3, 64, 64))
    assert calls.count('combine') == calls.count('queries') == 1
    assert calls.count('later') == 3, 'one batch of all tasks per step'


def test_predictions_depend_on_the_sample_alone():
    model = model_of().eval()
    images = torch.randn(3, 3, 64, 64)
    samples = [MTLDataSample(metainfo=dict(sample_id=i)) for i in 'abc']
    with torch.no_grad():
        together = model(images, samples)
        alone = model(images[2:], samples[2:])
        other = model(images[2:], samples[:1])
    for name in TASKS:
        torch.testing.assert_close(together[name][2:], alone[name], rtol=1e-4, atol=1e-5)
        assert not torch.allclose(alone[name], other[name], atol=1e-4), 'another id draws other noise'


# ---- options ---------------------------------------------------------------------------------------------------------
def gradient_reaches(model, module, loss_key='loss_depth') -> bool:
    model.zero_grad()
    losses = model(torch.randn(2, 3, 64, 64), mode='loss', targets=targets_of({'depth': [0, 1]}))
    losses[loss_key].backward()
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize(
    ('options', 'head', 'branch'),
    [
        (dict(mode='feature'), False, False),
        (dict(mode='feature', detach_predictions=False), True, True),
        (dict(mode='feature', condition='features'), False, True),
        (dict(mode='prediction'), False, True),
        (dict(mode='prediction', detach_features=True), False, False),
        (dict(mode='prediction', detach_features=True, condition='both', detach_predictions=False), True, True),
    ],
)
def test_what_the_condition_lets_through(options, head, branch):
    """Gradients of one task's final loss in another task's preliminary head and branch."""
    model = model_of(**options).train()
    assert gradient_reaches(model, model.decoder.preliminary_heads['semseg']) is head
    assert gradient_reaches(model, model.decoder.preliminary['semseg']) is branch


def test_without_diffusion_no_noise_is_drawn():
    class Silence(GeneratorNoise):
        def _draw(self, *args):
            raise AssertionError('a draw')

    model = model_of(mode='prediction', diffusion=False).eval()
    with torch.no_grad():
        model(torch.randn(1, 3, 64, 64), noise=Silence())
        with pytest.raises(AssertionError, match='a draw'):
            model_of(mode='prediction').eval()(torch.randn(1, 3, 64, 64), noise=Silence())


def test_without_condition_tasks_do_not_see_each_other():
    images = torch.randn(1, 3, 64, 64)
    for conditioned in (True, False):
        model = model_of(multitask_condition=conditioned).eval()
        with torch.no_grad():
            before = model(images)['depth']
            model.decoder.preliminary_heads['semseg'].weight.mul_(-3)
            after = model(images)['depth']
        assert torch.equal(before, after) is not conditioned
    assert not any('source_mlp' in n for n, _ in model.named_parameters())


def test_any_backbone_and_any_size():
    vit = dict(
        type='TimmBackbone', model_name='vit_tiny_patch16_224', img_size=(48, 64), embed_dim=24, depth=4, num_heads=2
    )
    model = MultiTaskModel(
        TASKS,
        vit,
        dict(type='DiffusionMTLDecoder', denoiser=dict(type='CrossDenoiser', hidden=16, token_scale=2)),
        neck=dict(type='ConcatFusion', channels=16, stride=16),
    ).train()
    losses = model(torch.randn(2, 3, 48, 64), mode='loss', targets=targets_of({'depth': [0]}, (48, 64)))
    assert all(torch.isfinite(v) for v in losses.values())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(mode='features'), "Did you mean 'feature'"),
        (dict(condition='prediction'), "Did you mean 'predictions'"),
        (dict(loss_reduction='balance'), "Did you mean 'balanced'"),
        (dict(neck=False), "neck=dict.type='ConcatFusion'"),
        (dict(denoiser=dict(heads=3)), 'cannot be split into 3 heads'),
    ],
)
def test_mistakes(options, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        model_of(**options)


# ---- explanations ----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('mode', ['feature', 'prediction'])
def test_explanations_are_the_maps_of_the_prediction(mode):
    model = model_of(mode=mode, num_steps=3).eval()
    inputs = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    samples = [MTLDataSample(metainfo=dict(sample_id=name)) for name in 'ab']
    shown = model.explain(inputs, samples)
    assert len(shown) == 2
    denoising, predictions = shown[0]
    assert (denoising.name, predictions.name) == ('denoising', 'step_predictions')
    assert denoising.rows == predictions.rows == list(TASKS)
    assert len(denoising.columns) == 2 + 3 + 2 and predictions.columns == ['initial', 'step 1', 'step 2', 'step 3']
    with torch.no_grad():
        raw = model.decoder.predict(model.extract(inputs), model._sample_noise(inputs, samples), (64, 64))
        features, initial = model.decoder.initial(model.extract(inputs))
    for name, row, task in zip(TASKS, predictions.cells, model.tasks.values()):
        torch.testing.assert_close(torch.from_numpy(row[-1]), task.predict(raw[name])[0])
        torch.testing.assert_close(torch.from_numpy(row[0]), task.predict(initial[name])[0])
    first, decayed = (torch.from_numpy(m) for m in denoising.cells[1][:2])
    if mode == 'feature':
        torch.testing.assert_close(first, features['depth'][0])
        assert 0.01 < (decayed - first).std() < 1
    assert not any(m._forward_hooks for m in model.modules()), 'nobody watches any more'


def test_denoiser_is_chosen_by_the_config():
    from mmmtl.models.diffusionmtl import CrossDenoiser
    from mmmtl.registry import MODELS

    @MODELS.register_module()
    class NothingDenoised(CrossDenoiser):
        def forward(self, states, condition, step):
            return {name: self.encoders[name](x) for name, x in states.items()}

    try:
        decoder = dict(type='DiffusionMTLDecoder', denoiser=dict(type='NothingDenoised', depth=1))
        fusion = dict(type='ConcatFusion', channels=16)
        model = MultiTaskModel(TASKS, dict(type='TimmBackbone', model_name='resnet18'), decoder, neck=fusion)
        assert isinstance(model.decoder.denoiser, NothingDenoised) and len(model.decoder.denoiser.blocks) == 1
        losses = model(torch.randn(2, 3, 64, 64), mode='loss', targets=targets_of({'depth': [0]}))
        assert sum(losses.values()) > 0
    finally:
        MODELS.module_dict.pop('NothingDenoised')
