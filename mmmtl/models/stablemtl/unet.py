"""The UNet of diffusers as one stream: built from its keyword arguments, inflated, and open to task attention.

``diffusers`` is imported when a UNet is built, not before: the import takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError, NotFoundError, suggest
from mmmtl.ops.gemm import use_fast_linear
from mmmtl.utils.optional import require
from mmmtl.utils.tensor_files import read_state

from .stable_diffusion import load_part


def require_diffusers() -> Any:
    """The module ``diffusers``; an ``ImportError`` says how it is installed."""
    return require('diffusers', 'latent diffusion models need diffusers', 'diffusion', ImportError)


class AttentionProcessor:
    """Attention of a diffusers block by scaled dot products, whose output a ``stream`` may see and change.

    Args:
        layer: Name of the self-attention layer; None for cross-attention, which is not shown to the stream.
        half: Run the products in float16 whatever the model's precision, as the published program does.
    """

    def __init__(self, layer: str | None, half: bool = False) -> None:
        self.layer, self.half = layer, half

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        stream: Callable[[str, Tensor], Tensor] | None = None,
    ) -> Tensor:
        """See ``diffusers.models.attention_processor``; ``attention_mask`` (B, 1, L) is added to the logits."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            layer(x).unflatten(-1, (attn.heads, -1)).transpose(1, 2)
            for layer, x in ((attn.to_q, hidden_states), (attn.to_k, context), (attn.to_v, context))
        )
        dtype = query.dtype
        if self.half:
            query, key, value = query.half(), key.half(), value.half()
        if attention_mask is not None:
            attention_mask = attention_mask[:, None].to(query.dtype)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=attention_mask)
        out = out.transpose(1, 2).flatten(2).to(dtype)
        out = attn.to_out[1](attn.to_out[0](out))
        return stream(self.layer, out) if stream is not None and self.layer is not None else out


def build_unet(config: Mapping[str, Any], in_channels: int, out_channels: int) -> nn.Module:
    """A ``UNet2DConditionModel`` whose blocks have forms for prediction (:mod:`~mmmtl.ops.inference_blocks`).

    Args:
        config: Its keyword arguments, without the numbers of input and output channels.
        in_channels: Channels of the latents that are put in: two frames and one that is empty.
        out_channels: Channels of the latent that comes out.

    Raises:
        ConfigError: An argument that the UNet does not take, or a number of channels that does not fit.
    """
    import inspect

    network = require_diffusers().UNet2DConditionModel
    config = dict(config)
    known = inspect.signature(network.__init__).parameters
    for name in config:
        if name not in known:
            raise ConfigError(f'model.unet.{name}: UNet2DConditionModel has no such argument.{suggest(name, known)}')
    for name, needed in (('in_channels', in_channels), ('out_channels', out_channels)):
        if config.setdefault(name, needed) != needed:
            raise ConfigError(f'model.unet.{name} = {config[name]}, but the autoencoder needs {needed}; leave it out')
    unet = network(**config)
    unet.plain_for_inference = ('WinogradConv2d',)
    return use_fast_linear(unet)


def self_attentions(unet: nn.Module) -> dict[str, nn.Module]:
    """Every self-attention by its layer's name (``down_blocks_0_attentions_1``), in the order of execution."""
    order = {'down_blocks': 0, 'mid_block': 1, 'up_blocks': 2}
    found = [(n, m) for n, m in unet.named_modules() if n.endswith('.attn1')]
    found.sort(key=lambda item: order[item[0].split('.')[0]])  # stable: the order inside a part is that of execution
    several = any('.transformer_blocks.1.' in name for name, _ in found)
    layers = {}
    for name, module in found:
        block, _, index = name[: -len('.attn1')].partition('.transformer_blocks.')
        layers[block.replace('.', '_') + (f'_{index}' if several else '')] = module
    return layers


def set_attention_processors(unet: nn.Module, half: bool = False) -> dict[str, int]:
    """Give every attention of the UNet a :class:`AttentionProcessor`.

    Args:
        unet: The UNet.
        half: Self-attention in float16.

    Returns:
        {layer: channels} of the self-attentions, in the order of execution.
    """
    layers = {module: layer for layer, module in self_attentions(unet).items()}
    for name, module in unet.named_modules():
        if name.endswith(('.attn1', '.attn2')):
            layer = layers.get(module)
            module.set_processor(AttentionProcessor(layer, half and layer is not None))
    return {layer: module.to_out[0].out_features for module, layer in layers.items()}


def inflate_input(weight: Tensor, channels: int) -> Tensor:
    """The first convolution's weight (out, c, 3, 3) for ``channels`` input channels, a multiple of c.

    Repeated, and divided by the number of repeats, so that c channels given several times give the same output.

    Raises:
        ConfigError: ``channels`` is no multiple of c.
    """
    have = weight.shape[1]
    if channels % have:
        raise ConfigError(f'a first convolution with {have} input channels cannot be inflated to {channels}')
    repeats = channels // have
    return weight.repeat(1, repeats, 1, 1) * (1.0 / repeats)


def load_unet(unet: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load weights strictly, inflating the first convolution where the file has fewer input channels.

    Raises:
        ConfigError: Names or shapes that do not fit; says which.
    """
    state = dict(state)
    if 'conv_in.weight' in state:
        state['conv_in.weight'] = inflate_input(state['conv_in.weight'], unet.conv_in.weight.shape[1])
    own = unet.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    misfit = [
        f'{n} {tuple(state[n].shape)} for {tuple(own[n].shape)}'
        for n in own
        if n in state and state[n].shape != own[n].shape
    ]
    if missing or unexpected or misfit:
        raise ConfigError(
            f'{where} does not hold the weights of this UNet: missing {missing[:3]} ({len(missing)}), '
            f'unexpected {unexpected[:3]} ({len(unexpected)}), of another shape {misfit[:3]}'
        )
    with torch.no_grad():
        unet.load_state_dict(state)


def read_single_stream(path: str) -> dict[str, dict[str, Tensor]]:
    """State dicts of a single-stream checkpoint by part: ``unet`` and, unless it is a bare UNet, ``autoencoder`` and ``tokens``.

    Raises:
        NotFoundError: No such file.
        ConfigError: A file of something else.
    """
    if not Path(path).is_file():
        raise NotFoundError(
            f'model.single_stream {path}: no such file; it is the checkpoint of stage 1, which is trained first'
        )
    state = read_state(path)
    if 'conv_in.weight' in state:
        return {'unet': state}
    parts: dict[str, dict[str, Tensor]] = {'unet': {}, 'autoencoder': {}, 'tokens': {}}
    for key, value in state.items():
        part, _, name = key.partition('.')
        if part in parts:
            parts[part][name] = value
    if not parts['unet']:
        raise ConfigError(
            f'model.single_stream {path}: no checkpoint of stage 1, whose weights are called unet.*; it has {list(state)[:3]}'
        )
    return parts


def initialise_unets(model: Any) -> None:
    """Give a latent model the weights that its config names: autoencoder, tokens, ``pretrained_unet``, ``single_stream``.

    Args:
        model: A :class:`~mmmtl.models.stablemtl.model.LatentMultiTaskModel`.
    """
    single = read_single_stream(model.single_stream) if model.single_stream else {}
    for name in ('autoencoder', 'tokens'):
        part, given = getattr(model, name), single.get(name)
        if not given:
            part.init_weights()
            continue
        own = part.state_dict()  # of some of the tasks of stage 1
        lacking = [key for key in own if key not in given or given[key].shape != own[key].shape]
        if lacking:
            raise ConfigError(
                f'model.single_stream {model.single_stream}: it lacks {name}.{lacking[0]}, or has another shape'
            )
        part.load_state_dict({key: given[key] for key in own})
    if model.pretrained_unet:
        loaded = load_part(require_diffusers().UNet2DConditionModel.from_pretrained, model.pretrained_unet, 'unet')
        load_unet(model.unet, loaded.state_dict(), model.pretrained_unet)
    if single and not (model.auxiliary is not None and model.main_from_pretrained):
        load_unet(model.unet, single['unet'], str(model.single_stream))
    if model.auxiliary is not None:
        load_unet(model.auxiliary, single.get('unet') or model.unet.state_dict(), str(model.single_stream))
