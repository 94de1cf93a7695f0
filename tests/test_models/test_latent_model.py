"""The latent model: against the published flow, what it computes how often, training, and its edges."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
import torch
from mmengine.config import Config

from benchmarks.reference.match_latent import LatentPair, published_program
from mmmtl.diffusion.noise import GeneratorNoise
from mmmtl.errors import CheckpointError, ConfigError
from mmmtl.models import LatentMultiTaskModel
from mmmtl.models.stablemtl import TaskMasking, predict_video
from mmmtl.structures import MTLDataSample

from .latent_toy import NAMES, TASK_ATTENTION, TASKS, UNET, make


def frames(count=2, size=(16, 24), seed=1, pair=True):
    generator = torch.Generator().manual_seed(seed)
    shape = (count, 2, 3, *size) if pair else (count, 3, *size)
    return torch.rand(shape, generator=generator) * 2 - 1


def labels(model, name, count=2, size=(16, 24)):
    task = model.tasks[name]
    generator = torch.Generator().manual_seed(7)
    if task.categorical:
        return torch.randint(0, 4, (count, *size), generator=generator)
    return torch.rand((count, task.channels, *size), generator=generator) + 0.1


def counted(model):
    """Counter of images encoded and decoded, samples per stream, and MLPs run per role."""
    counts = Counter()

    def watch(name, function):
        def wrapped(batch):
            counts[name] += len(batch)
            return function(batch)

        return wrapped

    model.autoencoder.encode = watch('encoded', model.autoencoder.encode)
    model.autoencoder.decode = watch('decoded', model.autoencoder.decode)
    for name in ('unet', 'auxiliary'):
        if getattr(model, name) is not None:
            getattr(model, name).register_forward_pre_hook(
                lambda m, args, name=name: counts.__setitem__(name, counts[name] + len(args[0]))
            )
    for layer in model.task_attention.values():
        for role in ('key', 'value', 'query'):
            for part in getattr(layer, role).values():
                part.register_forward_hook(lambda *a, role=role: counts.__setitem__(role, counts[role] + 1))
    return counts


# ---- against the published program -----------------------------------------------------------------------------------
@pytest.mark.parametrize('pair', [True, False])
@pytest.mark.parametrize('task_attention', [None, TASK_ATTENTION])
def test_same_numbers_as_the_published_flow(task_attention, pair):
    model = make(task_attention, vae=True)
    reference = published_program(model)
    images = torch.randint(0, 256, (2, 2, 3, 16, 24), generator=torch.Generator().manual_seed(3))
    inputs = images.float() / 255 * 2 - 1
    expected = reference(images[:, 0], images[:, 1] if pair else None)
    decoded = model(inputs if pair else inputs[:, 0], mode='tensor')
    for published, name in NAMES.items():
        found = model.tasks[name].from_image(decoded[name])
        if name == 'semseg':
            assert (found != expected[published]).float().mean() < 0.01
        else:
            torch.testing.assert_close(found, expected[published], atol=5e-5, rtol=0)


def test_nothing_is_computed_twice():
    """Seven tasks of a pair: 2 encodings, 7 + 7 passes, keys and values once per source and layer."""
    model = make(TASK_ATTENTION, vae=True)
    reference = published_program(model)
    counts = counted(model)
    model(frames(1), mode='tensor')
    layers = len(model.task_attention)
    assert layers == 7
    assert counts == dict(encoded=2, decoded=7, unet=7, auxiliary=7, key=7 * layers, value=7 * layers, query=7 * layers)
    reference((frames(1)[:, 0] + 1) * 127.5, (frames(1)[:, 1] + 1) * 127.5)
    assert reference.counts == dict(encoded=63, decoded=7, child=42, main=7, text=49)


def test_side_by_side_for_the_benchmark():
    """Also a model whose autoencoder is the cosine transform."""
    model = make(TASK_ATTENTION)
    pair = LatentPair(model, frames(1))
    found, expected = model(frames(1), mode='tensor', noise=pair.draws()), pair.run_reference()
    assert pair.compare_predictions(found, expected)['largest difference of decoded images'] < 5e-5
    assert pair.counts() == dict(encoded=63, decoded=7, child=42, main=7, text=49)
    with pytest.raises(ConfigError, match='predicts only'):
        LatentPair(make().train(), frames(1))


@pytest.mark.parametrize('batch_tasks', [1, 3])
def test_batching_changes_no_result(batch_tasks):
    model = make(TASK_ATTENTION)
    together = model(frames(), mode='tensor')
    model.batch_tasks, model.batch_images = batch_tasks, None
    counts = counted(model)
    apart = model(frames(), mode='tensor')
    for name in TASKS:
        torch.testing.assert_close(apart[name], together[name], atol=2e-6, rtol=0)
    assert counts['key'] == 7 * len(model.task_attention)


def test_a_single_task_costs_a_single_main_pass():
    model = make(TASK_ATTENTION)
    counts = counted(model)
    images = model(frames(1), mode='tensor', tasks=['depth'])
    assert list(images) == ['depth']
    assert (counts['unet'], counts['auxiliary'], counts['decoded'], counts['encoded']) == (1, 7, 1, 2)


def test_single_stream_encodes_the_second_frame_for_motion_only():
    model = make()
    counts = counted(model)
    model(frames(1), mode='tensor', tasks=['depth', 'normals'])
    assert counts['encoded'] == 1
    model(frames(1), mode='tensor')
    assert counts['encoded'] == 3


def test_auxiliary_pass_gives_the_single_stream_prediction():
    model = make(TASK_ATTENTION)
    single = make()
    single.load_state_dict({k: v for k, v in model.state_dict().items() if k.startswith(('unet', 'tokens'))})
    pair = model.encode_frames(frames())
    _, free = model.auxiliary_stream(pair)
    for name, latent in single.main_stream(single.encode_frames(frames())).items():
        torch.testing.assert_close(free[name], latent, atol=2e-6, rtol=0)


def test_a_new_main_stream_equals_the_stream_it_was_copied_from():
    """The streams multiply in other shapes, so equality is that of double precision, not of bits."""
    model = make(TASK_ATTENTION, random_out=False).double()
    pair = model.encode_frames(frames().double())
    with torch.no_grad():
        features, free = model.auxiliary_stream(pair)
        main = model.main_stream(pair, features)
    for name in TASKS:
        torch.testing.assert_close(main[name], free[name], rtol=0, atol=1e-12)


# ---- training --------------------------------------------------------------------------------------------------------
def test_loss_is_the_mean_square_over_valid_cells():
    model = make()
    label = labels(model, 'depth')
    label[0, :, 3:6, 5:9] = float('nan')
    loss = model(frames(pair=False), mode='loss', targets={'depth': (torch.arange(2), label)})
    assert list(loss) == ['loss_depth']
    image, valid = model.tasks['depth'].to_image(label)
    target = model.autoencoder.encode(image)
    pred = model.main_stream(model.encode_frames(frames(pair=False)), tasks=['depth'])['depth']
    cells = [
        ((pred - target)[k, :, i, j] ** 2)
        for k in range(2)
        for i in range(4)
        for j in range(6)
        if valid[k, 0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].all()
    ]
    assert len(cells) == 48 - 4
    torch.testing.assert_close(loss['loss_depth'], torch.stack(cells).mean())


def test_some_samples_labelled():
    model = make()
    label = labels(model, 'albedo', 1)
    both = frames(pair=False)
    one = model(both, mode='loss', targets={'albedo': (torch.tensor([1]), label)})['loss_albedo']
    alone = model(both[1:], mode='loss', targets={'albedo': (torch.tensor([0]), label)})['loss_albedo']
    torch.testing.assert_close(one, alone)


@pytest.mark.parametrize('task_attention', [None, TASK_ATTENTION])
def test_batch_without_a_valid_cell_contributes_zero(task_attention):
    model = make(task_attention).train()
    nothing = torch.full((2, 1, 16, 24), float('nan'))
    loss = model(frames(pair=False), mode='loss', targets={'depth': (torch.arange(2), nothing)})['loss_depth']
    loss.backward()
    assert loss == 0
    touched = [p.grad for p in model.parameters() if p.grad is not None]
    assert touched and all((g == 0).all() for g in touched)
    unlabelled = model(frames(pair=False), mode='loss', targets={})
    assert sum(unlabelled.values()) == 0 and sum(unlabelled.values()).requires_grad


def test_a_step_trains_the_parameters_of_its_task_alone():
    model = make({**TASK_ATTENTION, 'task_mask_prob': 0.0}).train()
    model(frames(), mode='loss', targets={'scene_flow': (torch.arange(2), labels(model, 'scene_flow'))})[
        'loss_scene_flow'
    ].backward()
    for layer in model.task_attention.values():
        for name in TASKS:
            own = name == 'scene_flow'
            assert all((p.grad is not None) == own for p in layer.query[name].parameters())
            assert all((p.grad is None) == own for p in layer.key[name].parameters())
            assert all((p.grad is None) == own for p in layer.value[name].parameters())
    assert all(p.grad is None for p in model.auxiliary.parameters())
    assert not model.auxiliary.training and not model.autoencoder.training and model.unet.training


def test_a_training_step_encodes_every_distinct_frame_once():
    model = make(TASK_ATTENTION).train()
    counts = counted(model)
    model(frames(pair=False), mode='loss', targets={'depth': (torch.arange(2), labels(model, 'depth'))})
    assert counts['encoded'] == 2 + 2  # frames, labels
    counts.clear()
    model(frames(), mode='loss', targets={'optical_flow': (torch.arange(2), labels(model, 'optical_flow'))})
    assert counts['encoded'] == 4 + 2 and counts['auxiliary'] == 12 and counts['unet'] == 2


def test_motion_is_trained_on_pairs():
    model = make()
    with pytest.raises(ValueError, match=r"'optical_flow'.*pairs of frames.*\(2, 3, 16, 24\)"):
        model(frames(pair=False), mode='loss', targets={'optical_flow': (torch.arange(2), labels(model, 'depth'))})


def test_recomputing_blocks_changes_no_gradient():
    """Also where a source is masked: a block that runs again masks the same one."""
    gradients = []
    for checkpointing in (False, True):
        model = make({**TASK_ATTENTION, 'task_mask_prob': 0.7}, checkpointing=checkpointing).train()
        noise = GeneratorNoise(5)
        target = {'normals': (torch.arange(2), labels(model, 'normals'))}
        model(frames(pair=False), mode='loss', targets=target, noise=noise)['loss_normals'].backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_masked_sources_follow_the_attention():
    """A share of layers masks one source, drawn in proportion to the scores; the masked one's gradient is zero."""
    model = make(TASK_ATTENTION).train()
    masking = TaskMasking('depth', GeneratorNoise(0), 1.0)
    pair = model.encode_frames(frames())
    features, _ = model.auxiliary_stream(pair, [name for name in TASKS if name != 'depth'], shared=False)
    model.main_stream(pair, features, ['depth'], masking=masking)['depth'].sum().backward()
    assert set(masking.masked) == set(model.task_attention) and None not in masking.masked.values()
    assert 'depth' not in masking.masked.values()
    for place, layer in model.task_attention.items():
        for name in set(TASKS) - {'depth'}:
            moved = any(p.grad.abs().sum() > 0 for p in layer.value[name].parameters())
            assert moved == (name != masking.masked[place])
    scores = torch.tensor([0.5, 0.3, 0.2])
    draws = Counter()
    noise = GeneratorNoise(1)
    for _ in range(4000):
        one = TaskMasking('depth', noise, 1.0)
        assert one.wanted('here')
        draws[one.choose('here', ['a', 'b', 'c'], scores)] += 1
    assert [draws[i] / 4000 for i in range(3)] == pytest.approx(scores.tolist(), abs=0.03)
    coins = TaskMasking('depth', noise, 0.4)
    assert sum(coins.wanted(str(i)) for i in range(4000)) / 4000 == pytest.approx(0.4, abs=0.03)


def test_nothing_is_masked_in_evaluation():
    model = make({**TASK_ATTENTION, 'task_mask_prob': 1.0})
    first, second = (model(frames(), mode='tensor') for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in TASKS)
    target = {'depth': (torch.arange(2), labels(model, 'depth'))}
    assert model(frames(), mode='loss', targets=target) == model(frames(), mode='loss', targets=target)


# ---- predictions -----------------------------------------------------------------------------------------------------
def test_predictions_have_the_original_size():
    model = make(TASK_ATTENTION)
    samples = [
        MTLDataSample(metainfo=dict(sample_id='a', ori_shape=(11, 19), padding=(1, 3, 2, 2))),
        MTLDataSample(metainfo=dict(sample_id='b', ori_shape=(16, 24))),
    ]
    found = model(frames(), samples, mode='predict')
    for sample in found:
        for name, task in model.tasks.items():
            value = sample.pred.get(name)
            assert value.shape == (1 if name == 'semseg' else task.out_channels, *sample.metainfo['ori_shape'])
            assert value.isfinite().all()
    assert found[0].pred.get('semseg').unique().max() < 4 and found[0].pred.get('semseg').dtype == torch.int64
    torch.testing.assert_close(found[0].pred.get('normals').norm(dim=0), torch.ones(11, 19))
    assert 0 <= found[0].pred.get('depth').min() and found[0].pred.get('depth').max() <= 1
    decoded = model(frames(), mode='tensor')['albedo'][1]
    torch.testing.assert_close(found[1].pred.get('albedo'), (decoded.clamp(-1, 1) + 1) / 2)


def test_predictions_of_what_is_labelled():
    """All that an evaluation needs: seven auxiliary passes, but one or two main passes and decodings."""
    model = make(TASK_ATTENTION, predict_labelled=True)
    samples = [MTLDataSample(metainfo=dict(sample_id=i)) for i in 'abc']
    samples[0].gt = dict(depth=torch.ones(1, 16, 24))
    samples[1].gt = dict(depth=torch.ones(1, 16, 24), semseg=torch.zeros(16, 24, dtype=torch.int64))
    counts = counted(model)
    found = model(frames(3), samples, mode='predict')
    assert list(found[0].pred.keys()) == ['depth'] and set(found[1].pred.keys()) == {'depth', 'semseg'}
    assert set(found[2].pred.keys()) == set(TASKS)  # nothing is known of labels: all
    counts.clear()
    again = model(frames(3)[:2], samples[:2], mode='predict')
    assert (counts['decoded'], counts['unet'], counts['auxiliary']) == (4, 4, 14)
    torch.testing.assert_close(again[0].pred.get('depth'), found[0].pred.get('depth'), atol=2e-6, rtol=0)
    samples[0].gt = dict()
    counts.clear()
    assert not list(model(frames(1), samples[:1], mode='predict')[0].pred.keys()) and not counts


def test_a_video_encodes_every_frame_once():
    model = make(TASK_ATTENTION)
    video = frames(4, pair=False)
    counts = counted(model)
    found = list(predict_video(model, (frame[None] for frame in video)))
    assert counts['encoded'] == 4 and counts['auxiliary'] == 28 and len(found) == 4
    for t in range(3):
        pair = model(torch.stack([video[t], video[t + 1]])[None], mode='tensor')
        for name in model.tasks:
            torch.testing.assert_close(found[t][name], pair[name], atol=2e-6, rtol=0)
    last = model(video[3:], mode='tensor')
    torch.testing.assert_close(found[3]['depth'], last['depth'], atol=2e-6, rtol=0)


def test_a_video_may_run_the_auxiliary_stream_for_some_frames_only():
    exact, model = make(TASK_ATTENTION), make(dict(TASK_ATTENTION, auxiliary_every=2))
    model.load_state_dict(exact.state_dict())
    video = frames(4, pair=False).split(1)
    counts = counted(model)
    found, expected = list(predict_video(model, video)), list(predict_video(exact, video))
    assert counts['auxiliary'] == 14 and counts['unet'] == 28 and len(found) == 4
    same = [torch.allclose(a['depth'], b['depth'], atol=2e-6) for a, b in zip(found, expected)]
    assert same == [True, False, True, False]
    for wrong in (0, 1.5, 'two'):
        with pytest.raises(ConfigError, match='model.task_attention.auxiliary_every must be a whole number > 0'):
            make(dict(TASK_ATTENTION, auxiliary_every=wrong))


@pytest.mark.parametrize(('second_frame', 'channels'), [('duplicate', 27), ('zeros', 27), ('average', 18)])
def test_what_takes_the_place_of_the_second_frame(second_frame, channels):
    model = make(second_frame=second_frame)
    first, second = model.encode_frames(frames())
    assert model.unet.config.in_channels == channels
    depth, flow = (model.unet_input([first, second], name) for name in ('depth', 'optical_flow'))
    empty = torch.zeros_like(first)
    expected = {'duplicate': [first, first], 'zeros': [first, empty], 'average': [first]}[second_frame]
    assert torch.equal(depth, torch.cat([*expected, empty], 1))
    moving = [(first + second) / 2] if second_frame == 'average' else [first, second]
    assert torch.equal(flow, torch.cat([*moving, empty], 1))


def test_noise_in_the_empty_latent_depends_on_the_sample_alone():
    model = make(TASK_ATTENTION, input_noise='normal')
    samples = [MTLDataSample(metainfo=dict(sample_id=i)) for i in 'ab']
    both = model(frames(), samples, mode='tensor')
    alone = model(frames()[1:], samples[1:], mode='tensor')
    torch.testing.assert_close(alone['depth'][0], both['depth'][1], atol=2e-6, rtol=0)
    other = model(frames()[1:], samples[:1], mode='tensor')
    assert (other['depth'] - alone['depth']).abs().max() > 1e-3


# ---- weights and configs ---------------------------------------------------------------------------------------------
def test_stage_two_starts_from_stage_one(tmp_path):
    stage_one = make(seed=3)
    torch.save(dict(state_dict=stage_one.state_dict(), meta={}), tmp_path / 'one.pth')
    torch.save(stage_one.unet.state_dict(), tmp_path / 'bare.pth')
    model = make(TASK_ATTENTION, seed=4, single_stream=str(tmp_path / 'one.pth'))
    for part in (model.unet, model.auxiliary):
        assert all(torch.equal(v, stage_one.unet.state_dict()[k]) for k, v in part.state_dict().items())
    assert torch.equal(model.tokens('depth'), stage_one.tokens('depth'))
    bare = make({**TASK_ATTENTION, 'main_from_pretrained': True}, seed=5, single_stream=str(tmp_path / 'bare.pth'))
    assert torch.equal(bare.auxiliary.conv_in.weight, stage_one.unet.conv_in.weight)
    assert not torch.equal(bare.unet.conv_in.weight, stage_one.unet.conv_in.weight)
    torch.save({'backbone.weight': torch.zeros(1)}, tmp_path / 'foreign.pth')
    with pytest.raises(ConfigError, match="foreign.pth: no checkpoint of stage 1.*it has .'backbone.weight'"):
        make({**TASK_ATTENTION, 'main_from_pretrained': True}, single_stream=str(tmp_path / 'foreign.pth'))
    state = stage_one.state_dict()
    rest = {k: v for k, v in state.items() if not (k.startswith('tokens.') and 'depth' in k)}
    torch.save(rest, tmp_path / 'rest.pth')
    with pytest.raises(ConfigError, match='it lacks tokens.*depth'):
        make(TASK_ATTENTION, single_stream=str(tmp_path / 'rest.pth'))
    torch.save({**state, 'tokens.token.heat': state['tokens.token.depth']}, tmp_path / 'more.pth')  # of more tasks
    assert torch.equal(make(single_stream=str(tmp_path / 'more.pth')).tokens('depth'), stage_one.tokens('depth'))
    with pytest.raises(FileNotFoundError, match='checkpoint of stage 1'):
        make(TASK_ATTENTION, single_stream=str(tmp_path / 'none.pth'))
    other = make(unet={**UNET, 'block_out_channels': (8, 16)})
    torch.save(other.unet.state_dict(), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='does not hold the weights of this UNet.*of another shape'):
        make(TASK_ATTENTION, single_stream=str(tmp_path / 'other.pth'))


def test_pretrained_folders_in_diffusers_form(tmp_path):
    from diffusers import AutoencoderKL, UNet2DConditionModel

    from .latent_toy import VAE

    torch.manual_seed(0)
    unet = UNet2DConditionModel(**UNET, in_channels=4, out_channels=4)
    vae = AutoencoderKL(**VAE)
    unet.save_pretrained(tmp_path / 'unet')
    vae.save_pretrained(tmp_path / 'vae')
    model = LatentMultiTaskModel(
        TASKS,
        dict(type='KLAutoencoder', config=VAE, pretrained=str(tmp_path)),
        UNET,
        dict(type='LearnedTokens'),
        pretrained_unet=str(tmp_path),
    )
    model.init_weights()
    assert torch.equal(model.unet.conv_out.weight, unet.conv_out.weight)
    assert torch.equal(model.autoencoder.network.quant_conv.weight, vae.quant_conv.weight)
    z = torch.randn(1, 4, 8, 8)
    with torch.no_grad():  # three times the same latent is what the original network saw once
        found = model.unet(torch.cat([z, z, z], 1), 999, encoder_hidden_states=torch.zeros(1, 2, 12)).sample
        expected = unet(z, 999, encoder_hidden_states=torch.zeros(1, 2, 12)).sample
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_a_checkpoint_is_complete(tmp_path):
    """Tokens, autoencoder and both streams come back without the files they once came from."""
    torch.save({name: torch.randn(3 + k % 2, 12) for k, name in enumerate(TASKS)}, tmp_path / 'tokens.pt')
    options = dict(tokens=dict(type='TokenFile', path=str(tmp_path / 'tokens.pt')), vae=True)
    model = make(TASK_ATTENTION, **options)
    expected = model(frames(), mode='tensor')
    (tmp_path / 'tokens.pt').unlink()
    again = LatentMultiTaskModel(
        TASKS,
        dict(type='KLAutoencoder', config=model.autoencoder.config),
        UNET,
        dict(type='TokenFile', path='gone.pt'),
        TASK_ATTENTION,
    ).eval()
    with pytest.raises(CheckpointError, match="tokens of task 'albedo' are not there yet"):
        again(frames(), mode='tensor')
    again.load_state_dict(model.state_dict())
    found = again(frames(), mode='tensor')
    assert all(torch.equal(found[name], expected[name]) for name in TASKS)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(task_attention=dict(head=2)), r"model\.task_attention\.head: unknown argument.*'heads'"),
        (dict(task_attention=dict(layers='decoders')), r"model\.task_attention\.layers must be 'all' or 'decoder'"),
        (dict(task_attention=dict(heads=3)), '3 heads do not divide the 16 channels'),
        (dict(second_frame='dublicate'), "model.second_frame must be.*'duplicate'"),
        (dict(input_noise='noise'), 'model.input_noise must be'),
        (dict(unet={**UNET, 'block_out_channel': 3}), r"model\.unet\.block_out_channel.*'block_out_channels'"),
        (dict(unet={**UNET, 'in_channels': 4}), r'model\.unet\.in_channels = 4, but the autoencoder needs 27'),
    ],
)
def test_mistakes_in_the_config(options, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        make(**options)


def test_mistakes_in_use():
    model = make()
    with pytest.raises(ValueError, match='16x22 pixels: the autoencoder needs multiples of 4.*multiple=4'):
        model(frames(size=(16, 22)), mode='tensor')
    with pytest.raises(ValueError, match="mode must be 'loss'"):
        model(frames(), mode='train')
    with pytest.raises(ConfigError, match='one stream has no auxiliary features'):
        model.auxiliary_stream(model.encode_frames(frames()))


def test_features_serve_one_task_after_another():
    model = make(TASK_ATTENTION)
    pair = model.encode_frames(frames())
    with torch.no_grad():
        together = model.main_stream(pair, model.auxiliary_stream(pair)[0], last=True)
        features, _ = model.auxiliary_stream(pair)
        counts = counted(model)
        for name in TASKS:
            found = model.main_stream(pair, features, [name])
            torch.testing.assert_close(found[name], together[name], atol=2e-6, rtol=0)
    assert counts['key'] == 7 * len(model.task_attention) and not features.features


def test_exchange_in_the_decoder_alone():
    model = make({**TASK_ATTENTION, 'layers': 'decoder'})
    assert list(model.task_attention) == [f'up_blocks_{i}_attentions_{j}' for i in (0, 1) for j in (0, 1)]
    assert model(frames(), mode='tensor')['depth'].isfinite().all()


def test_published_size_on_the_meta_device(root_dir):
    """Parameters, and operations for all seven tasks of a pair of 176 x 608 pixels, against the published numbers."""
    from torch.utils.flop_counter import FlopCounterMode

    config = Config.fromfile(root_dir / 'configs/stablemtl/sd2_multistream.py').model
    config.pop('type')
    with torch.device('meta'):
        model = LatentMultiTaskModel(**config).eval()
        assert sum(p.numel() for p in model.unet.parameters()) == 865_933_764
        assert sum(p.numel() for p in model.auxiliary.parameters()) == 865_933_764
        assert sum(p.numel() for p in model.task_attention.parameters()) == 390_528_320
        assert sum(p.numel() for p in model.autoencoder.parameters()) == 83_653_863
        model.tokens.put({name: torch.zeros(length, 1024) for name, length in zip(TASKS, (5, 3, 3, 3, 4, 4, 4))})
        with FlopCounterMode(display=False) as flops:
            model(torch.zeros(1, 2, 3, 176, 608), mode='tensor')
    assert flops.get_total_flops() < 13.1e12


def test_diffusers_is_imported_when_it_is_needed():
    # mmengine itself imports transformers where it is installed
    code = (
        'import sys, mmengine.optim; before = set(sys.modules); import mmmtl.models; '
        "sys.exit(bool({'diffusers', 'transformers'} & (set(sys.modules) - before)))"
    )
    assert subprocess.run([sys.executable, '-c', code], check=False).returncode == 0


# ---- any set of tasks, views, explanations ---------------------------------------------------------------------------
@pytest.mark.parametrize('names', [['depth'], ['depth', 'semseg'], ['depth', 'semseg', 'optical_flow']])
def test_any_set_of_tasks_trains_with_all_of_them_labelled(names):
    """One task has nothing to attend to, two have nothing left when the other is masked; every task has its own mask."""
    model = make({**TASK_ATTENTION, 'task_mask_prob': 1.0}, tasks={name: TASKS[name] for name in names}).train()
    targets = {name: (torch.arange(2), labels(model, name)) for name in names}
    losses = model(frames(), mode='loss', targets=targets)
    assert set(losses) == {f'loss_{name}' for name in names}
    sum(losses.values()).backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(g.isfinite().all() for g in gradients) and all(v.isfinite() for v in losses.values())
    assert set(model.eval()(frames(), mode='tensor')) == set(names)


def test_a_task_without_a_picture_is_refused_when_the_model_is_built():
    from mmmtl.tasks.continuous import ContinuousTask

    class Heat(ContinuousTask):
        default_name = 'heat'
        channels = label_channels = out_channels = 5

        def default_metric(self):
            return dict(type='DepthError')

    with pytest.raises(ConfigError, match=r"tasks\['heat'\].*to_image\(label\) and from_image\(image\)"):
        make(tasks={'heat': Heat()})


def test_views_are_averaged():
    model = make()
    plain = model(frames(), mode='predict')[0].pred
    once = make(tta=dict(flips=('horizontal',)))
    mirrored = once(torch.flip(frames(), (-1,)), mode='predict')[0].pred
    for name, task in model.tasks.items():
        torch.testing.assert_close(task.flip(mirrored.get(name)), plain.get(name), atol=1e-5, rtol=1e-4)
    both = make(tta=dict(flips=('none', 'horizontal')))(frames(), mode='predict')[0].pred
    pictures = model(frames())['albedo'], torch.flip(model(torch.flip(frames(), (-1,)))['albedo'], (-1,))
    mean = model.tasks['albedo'].from_image((pictures[0] + pictures[1]) / 2)[0]
    torch.testing.assert_close(both.get('albedo'), mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both.get('normals').norm(dim=0), torch.ones(16, 24))
    with pytest.raises(ConfigError, match='tta.zoom'):
        make(tta=dict(zoom=True))


def test_what_the_main_stream_attends_to():
    model = make(TASK_ATTENTION)
    (shown,) = model.explain(frames(), [MTLDataSample(metainfo=dict(sample_id=i)) for i in 'ab'])[0]
    assert shown.rows == shown.columns == list(TASKS)
    for i, row in enumerate(shown.cells):
        assert (row[i] == 0).all()  # not to itself
        assert sum(row) == pytest.approx(1, abs=1e-5)
    assert not any(layer._forward_hooks for layer in model.task_attention.values())
    with pytest.raises(ConfigError, match='one stream cannot explain'):
        make().explain(frames())
