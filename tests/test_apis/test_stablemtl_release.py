"""Releases of StableMTL: found in their folder, in diffusers' form, and converted strictly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.reference.match_latent import export
from benchmarks.reference.stablemtl import TASKS as PUBLISHED
from mmmtl.apis.convert import published_names
from mmmtl.errors import CheckpointError
from mmmtl.models.stablemtl import converter as stablemtl
from tests.test_models.latent_toy import NAMES, TASK_ATTENTION, UNET, make
from tests.test_models.test_latent_model import frames


def export_folder(model: torch.nn.Module, target: Path) -> list[str]:
    """Write a model's networks into a folder in diffusers' form.

    ``unet`` and ``vae`` load with ``UNet2DConditionModel.from_pretrained`` and ``AutoencoderKL.from_pretrained`` (a
    two-stream model's task attention is left out by them; it is in the same file under its published names);
    ``single_stream_unet.pth`` and ``tokens.pt`` complete what :func:`read_release` reads.

    Args:
        model: A ``LatentMultiTaskModel`` with the autoencoder of diffusers.
        target: The folder; must not exist.

    Returns:
        What was written.
    """
    target.mkdir(parents=True)
    own = {name: task.prompt.replace(' ', '_') for name, task in model.tasks.items()}
    parts = export(model.state_dict(), {published: name for name, published in own.items()})
    for part, network in (('unet', model.unet), ('vae', getattr(model.autoencoder, 'network', None))):
        if part not in parts or network is None:
            continue
        (target / part).mkdir()
        (target / part / 'config.json').write_text(json.dumps(dict(network.config), default=list))
        save_file(
            {k: v.contiguous() for k, v in parts[part].items()}, target / part / 'diffusion_pytorch_model.safetensors'
        )
    if 'single_stream_unet' in parts:
        torch.save(parts['single_stream_unet'], target / 'single_stream_unet.pth')
    tokens = {published.replace('_', ' '): model.tokens(name).detach().clone() for name, published in own.items()}
    torch.save(tokens, target / 'tokens.pt')
    return sorted(str(path.relative_to(target)) for path in target.rglob('*') if path.is_file())


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp('tokens') / 'tokens.pt'
    generator = torch.Generator().manual_seed(0)
    torch.save(
        {p.replace('_', ' '): torch.randn(3 + k % 2, 12, generator=generator) for k, p in enumerate(PUBLISHED)}, path
    )
    return make(TASK_ATTENTION, vae=True, tokens=dict(type='TokenFile', path=str(path)))


def test_there_and_back_through_a_folder(model, tmp_path):
    written = export_folder(model, tmp_path / 'release')
    assert written == [
        'single_stream_unet.pth',
        'tokens.pt',
        'unet/config.json',
        'unet/diffusion_pytorch_model.safetensors',
        'vae/config.json',
        'vae/diffusion_pytorch_model.safetensors',
    ]
    state = stablemtl.read_release(str(tmp_path / 'release'))
    renamed, dropped, unknown = stablemtl.convert(state, published_names(model.tasks))
    assert (dropped, unknown) == ([], [])
    own = model.state_dict()
    assert renamed.keys() == own.keys() and all(torch.equal(renamed[k], v) for k, v in own.items())
    with pytest.raises(FileExistsError):
        export_folder(model, tmp_path / 'release')


def test_names_are_the_published_ones(model):
    exported = export(model.state_dict(), NAMES)['unet']
    prefix = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1.'
    added = {k[len(prefix) :] for k in exported if k.startswith(prefix) and '_task' in k or 'task_' in k}
    assert {f'task_to_{r}.semantic.fc{i}.weight' for r in 'kv' for i in (1, 2)} <= added
    assert {f'task_to_q.normal.net.{i}.bias' for i in (0, 2, 4, 6)} <= added
    assert {'to_out_task.weight', 'task_norm_q.optical_flow.weight'} <= added
    lean = {k: v for k, v in NAMES.items() if k != 'semantic'}
    _, _, unknown = stablemtl.convert(exported, lean)
    assert unknown and all('.semantic.' in key for key in unknown)


def test_diffusers_reads_what_was_exported(model, tmp_path):
    from diffusers import AutoencoderKL, UNet2DConditionModel

    export_folder(model, tmp_path / 'out')
    vae = AutoencoderKL.from_pretrained(tmp_path / 'out/vae')
    assert torch.equal(vae.state_dict()['quant_conv.weight'], model.autoencoder.network.quant_conv.weight)
    config = json.loads((tmp_path / 'out/unet/config.json').read_text())
    weights = load_file(tmp_path / 'out/unet/diffusion_pytorch_model.safetensors')
    unet = UNet2DConditionModel.from_config(config)
    left = unet.load_state_dict(weights, strict=False)
    assert not left.missing_keys and all('task' in key for key in left.unexpected_keys)


def test_single_stream_weights_alone(model, tmp_path):
    """The bare file beside the folders of Stable Diffusion 2, as it is released."""
    export_folder(model, tmp_path / 'out')
    torch.save({f'module.{k}': v for k, v in model.auxiliary.state_dict().items()}, tmp_path / 'out/single.pth')
    single = make(vae=True, tokens=dict(type='TokenFile', path=str(tmp_path / 'out/tokens.pt')))
    state = stablemtl.read_release(str(tmp_path / 'out/single.pth'))
    renamed, _, unknown = stablemtl.convert(state, published_names(single.tasks))
    assert not unknown and renamed.keys() == single.state_dict().keys()
    single.load_state_dict(renamed)
    free = model.auxiliary_stream(model.encode_frames(frames()))[1]
    for name, latent in single.main_stream(single.encode_frames(frames())).items():
        torch.testing.assert_close(latent, free[name], atol=2e-6, rtol=0)


def test_tokens_without_room_are_refused():
    with pytest.raises(CheckpointError, match='tokens/depth: 17 tokens, the model has room for 16'):
        stablemtl.convert({'tokens/depth': torch.zeros(17, 4)}, {'depth': 'depth'})


def test_what_is_missing_is_named(model, tmp_path):
    export_folder(model, tmp_path / 'out')
    (tmp_path / 'out/tokens.pt').unlink()
    with pytest.raises(CheckpointError, match=r"encoded task names.*none of \['tokens.pt', 'text_encoder'\]"):
        stablemtl.read_release(str(tmp_path / 'out'))
    (tmp_path / 'out/vae').rename(tmp_path / 'out/elsewhere')
    with pytest.raises(CheckpointError, match="Stable Diffusion 2's autoencoder"):
        stablemtl.read_release(str(tmp_path / 'out'))
    (tmp_path / 'out/single_stream_unet.pth').unlink()
    with pytest.raises(CheckpointError, match='the auxiliary stream'):
        stablemtl.read_release(str(tmp_path / 'out'))


def test_prompts_are_the_published_names():
    assert {p.replace('_', ' ') for p in PUBLISHED} <= set(stablemtl.registered_prompts())
    assert UNET['cross_attention_dim'] == 12
