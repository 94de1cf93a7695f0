"""Joint-task regularisation: who learns from which loss, any tasks, three views, colours; recorded runs are in
test_compared_methods.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmmtl.datasets.transforms.image_ops import OPERATIONS, apply_operation
from mmmtl.errors import ConfigError, InputError
from mmmtl.models import CroppedViews, MultiTaskModel
from mmmtl.models.jtr.autoencoder import StackAutoencoder
from mmmtl.models.jtr.channels import Binary, Classes, Numbers, UnitVectors, channels_of
from mmmtl.tasks import build_tasks
from tests.test_models.test_xtc import ALL, INNER, NARROW, SIZE, TASKS, batch_of, labels


def model_of(tasks=TASKS, inner=None, backbone=None, **options) -> MultiTaskModel:
    torch.manual_seed(0)
    options = {'views': 1, **options}
    return MultiTaskModel(
        tasks,
        backbone or dict(type='SegNet', filters=NARROW),
        dict(type='JTR', filters=NARROW, decoder=inner or dict(type='ConvHeads'), **options),
        frames=1,
    )


@pytest.mark.parametrize(('channels', 'count'), [(17, 24_989_427), (8, 24_983_640)])
def test_parameters_of_the_published_autoencoder(channels, count):
    with torch.device('meta'):
        found = sum(p.numel() for p in StackAutoencoder(channels).parameters())
    assert found == count - 2 * channels, 'all but a norm that is never used'


def gradients(model, loss):
    """Which parts get a gradient of a loss."""
    parameters = dict(model.named_parameters())
    grads = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True)
    parts: dict[str, float] = {}
    for name, grad in zip(parameters, grads):
        part = 'g' if '.network.' in name else name.split('.')[3] if '.heads.' in name else 'backbone'
        parts[part] = parts.get(part, 0.0) + (0.0 if grad is None else float(grad.abs().sum()))
    return parts


def test_who_learns_from_which_loss():
    images, targets = torch.randn(2, 3, *SIZE), labels({'depth': [0, 1]})
    model = model_of(second_weight=0.0).train()
    losses = model(images, mode='loss', targets=targets)
    first = gradients(model, losses['loss_distance'])
    assert first['g'] == 0 and first['depth'] == 0
    assert first['semseg'] > 0 and first['normals'] > 0 and first['backbone'] > 0
    again = gradients(model, losses['loss_reconstruction'])
    assert again['g'] > 0 and sum(again.values()) == again['g']
    model = model_of().train()
    every = labels({n: [0, 1] for n in TASKS})
    distance = gradients(model, model(images, mode='loss', targets=every)['loss_distance'])
    assert distance['g'] > 0 and sum(distance.values()) == distance['g'], 'all labels: nothing for the decoder to learn'


@pytest.mark.parametrize('name', INNER)
@pytest.mark.parametrize('rows', [{}, {'depth': [0], 'semseg': [1]}])
def test_any_decoder_takes_it(name, rows):
    inner, neck = INNER[name]
    model = model_of(inner=inner, neck=neck, backbone=dict(type='TimmBackbone', model_name='resnet18')).train()
    losses = model(torch.randn(2, 3, *SIZE), mode='loss', targets=labels(rows))
    assert set(losses) >= {'loss_distance', 'loss_reconstruction', *(f'loss_{n}' for n in TASKS)}
    sum(losses.values()).backward()
    assert not [n for n, p in model.decoder.named_parameters() if p.grad is None]
    model.eval()
    model.decoder.network.forward = None  # no part of prediction
    with torch.no_grad():
        assert model(torch.randn(1, 3, *SIZE))['depth'].shape == (1, 1, *SIZE)


@pytest.mark.parametrize('faithful', [True, False])
def test_any_task(faithful):
    kinds = [Classes, Numbers, UnitVectors, Binary, Numbers, Numbers]
    tasks = build_tasks(ALL)
    assert [type(channels_of(t)) for t in tasks.values()] == kinds
    model = model_of(ALL, faithful=faithful)
    size, made = (32, 32), labels({'semseg': [0], 'normals': [1]}, size=(32, 32))
    made['boundary'] = (torch.tensor([1]), torch.randint(0, 2, (1, *size)))
    made['flow'] = (torch.tensor([0]), torch.randn(1, 2, *size))
    losses = model.train()(torch.randn(2, 3, *size), mode='loss', targets=made)
    total = sum(losses.values())
    total.backward()
    assert torch.isfinite(total) and all(torch.isfinite(p.grad).all() for p in model.decoder.parameters())


@pytest.mark.parametrize('name', list(ALL))
def test_a_perfect_reconstruction_costs_least(name):
    """Without the published double encoding, g(stack) = stack is the minimum, and unknown pixels count nothing."""
    task = build_tasks(ALL)[name]
    channels, size = channels_of(task, faithful=False), (8, 8)
    raw = torch.randn(2, task.out_channels, *size)
    if isinstance(channels, Numbers):
        raw = raw * 0.3 + channels.mean
    mask = (torch.rand(2, 1, *size) > 0.3).float()
    target = channels.target_of_itself(channels.value(raw), mask, lambda: torch.rand_like(raw))
    stack = channels.phi(target) if isinstance(channels, Numbers) else target
    perfect = stack if isinstance(channels, UnitVectors) else ((stack.clamp(1e-6, 1 - 1e-6)).logit())
    best = channels.distance(perfect, target, mask)
    spoilt = perfect + 5 * (1 - mask)
    torch.testing.assert_close(channels.distance(spoilt, target, mask), best)
    for _ in range(5):
        assert (channels.distance(perfect + torch.randn_like(perfect), target, mask) > best).all()
    if isinstance(channels, (Numbers, UnitVectors)):
        torch.testing.assert_close(best, torch.zeros(2), atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(views=4), 'views must be 1, 2 or 3, got 4'),
        (dict(tasks=dict(depth=dict(type='Depth'))), 'at least two'),
        (dict(filters=(4, 8)), '5 levels'),
        (dict(statistics=dict(dept=(1, 1))), "Did you mean 'depth'"),
        (dict(statistics=dict(semseg=(1, 1))), "'semseg', no task of numbers"),
        (dict(statistics=dict(normals=(1, 1))), "'normals', no task of numbers"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ConfigError, match=message):
        MultiTaskModel(
            options.pop('tasks', TASKS),
            dict(type='SegNet', filters=NARROW),
            {'type': 'JTR', 'filters': NARROW, 'decoder': dict(type='ConvHeads'), **options},
        )


def test_it_says_which_batches_and_sizes_it_takes():
    resnet = dict(type='TimmBackbone', model_name='resnet18')
    inner, neck = INNER['plain']
    with pytest.raises(InputError, match='multiples of 32, got 64x80'):
        model_of(inner=inner, neck=neck, backbone=resnet)(torch.randn(2, 3, 64, 80), mode='loss', targets={})
    with pytest.raises(ConfigError, match=r'multiple of 3, got 4.*views=3'):
        model_of(views=3)(torch.randn(4, 3, *SIZE), mode='loss', targets={})


# ---- views -----------------------------------------------------------------------------------------------------------
def test_three_views_teach_different_parts():
    """The second crop has no say in what the decoder learns, the first none in what g does."""
    images = torch.randn(3, 3, *SIZE)
    one = labels({'depth': [0]})['depth']
    found = []
    for changed in (None, 1, 2):
        model = model_of(views=3, inner=dict(type='ConvHeads', loss_reduction='sample')).eval()
        parts = [one[1]] * 3
        if changed:
            parts[changed] = one[1].flip(-1) + 1
        targets = dict(depth=(torch.arange(3), torch.cat(parts)))
        draws = {
            f'gumbel.semseg.{r}': torch.rand(1, 4, *SIZE, generator=torch.Generator().manual_seed(7)) for r in ROLES
        }
        losses = model(images, mode='loss', targets=targets, noise=draws)
        sum(losses.values()).backward()
        norms = dict.fromkeys(('host', 'g'), 0.0)
        for name, p in model.named_parameters():
            norms['g' if '.network.' in name else 'host'] += float(p.grad.double().norm() if p.grad is not None else 0)
        found.append((losses['loss_depth'].item(), norms['host'], norms['g']))
    (loss, host, g), first, second = found
    assert first[0] == second[0] == loss
    assert first[1] != host and first[2] == g
    assert second[1] == host and second[2] != g


ROLES = ('guess1', 'truth1', 'truth2', 'label2', 'target2')


def test_three_views_are_two_crops():
    torch.manual_seed(1)
    views = CroppedViews(TASKS, views=3, scales=(1.5,), flip=(1.0, 0.0), mean=None, std=None)
    batch = views(batch_of(), training=True)
    assert batch['inputs'].shape == (6, 3, 60, 90)
    assert {n: i.tolist() for n, (i, _) in batch['targets'].items()} == dict(
        semseg=[0, 2, 4], depth=[1, 3, 5], normals=[0, 2, 4]
    )
    mirrored, plain = batch['inputs'][2, 0], batch['inputs'][4, 0]
    assert mirrored[0, 0] > mirrored[0, -1] and plain[0, 0] < plain[0, -1]
    assert not torch.equal(mirrored.flip(-1), plain)
    for options, message in (
        (dict(views=1), 'at least 2'),
        (dict(transforms=[dict(type='RandomFlip')]), 'RandomFlip changes more than colours'),
        (dict(views=3, flip=(0.5,)), '2 crops, flip says 1'),
        (dict(transforms=[dict(type='RandomImageOps')], mean=None, std=None), 'transforms need images of 0..255'),
    ):
        with pytest.raises(ConfigError, match=message):
            CroppedViews(TASKS, **options)


def test_views_get_colours_of_their_own_and_padding_stays():
    batch = batch_of()
    for sample in batch['data_samples']:
        sample.set_metainfo(dict(padding=(4, 0, 0, 6)))
    batch['inputs'] = [(x * 255).round().to(torch.uint8) for x in batch['inputs']]
    views = CroppedViews(TASKS, scales=(1.0,), transforms=[dict(type='RandomImageOps', count=1)])
    plain = CroppedViews(TASKS, scales=(1.0,))(batch, training=True)['inputs']
    kept = 0
    for seed in range(8):
        torch.manual_seed(seed)
        found = views(batch, training=True)['inputs']
        kept += int(torch.allclose(found[0], plain[0], atol=1e-5))
        assert (found[0][:, :, :4] == 0).all() and (found[2][:, -6:] == 0).all()
        levels = (found * views.std + views.mean) * 255
        assert levels.min() > -0.01 and levels.max() < 255.01
    assert kept < 6


# ---- colours ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('name', OPERATIONS)
def test_operations_on_batches_and_flat_images(name):
    image = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0))
    whole = apply_operation(image, name, 5)
    assert whole.min() >= 0 and whole.max() <= 1
    torch.testing.assert_close(whole, torch.stack([apply_operation(x, name, 5) for x in image]))
    flat = apply_operation(torch.full((3, 4, 4), 0.25), name, 3)
    assert torch.isfinite(flat).all()


def test_equalize_is_pillows():
    ops = pytest.importorskip('PIL.ImageOps')
    from PIL import Image

    levels = np.random.default_rng(0).integers(20, 90, (24, 32, 3), dtype=np.uint8)
    found = apply_operation(torch.from_numpy(levels).permute(2, 0, 1) / 255, 'Equalize', 0)
    wanted = np.asarray(ops.equalize(Image.fromarray(levels)))
    np.testing.assert_array_equal((found * 255).round().permute(1, 2, 0).numpy(), wanted)
