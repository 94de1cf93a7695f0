"""Image autoencoders: a frozen network of diffusers, or a block cosine transform that needs no weights.

The interface: ``factor`` (pixels per latent cell and side), ``latent_channels``, ``encode(image) -> latent`` and
``decode(latent) -> image``; images are (B, 3, H, W) in [-1, 1], latents (B, C, floor(H / factor), floor(W / factor)),
of about unit size. Encoding is deterministic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.ops import optimize_for_inference
from mmmtl.ops.gemm import use_fast_linear
from mmmtl.registry import MODELS

from .stable_diffusion import load_part
from .unet import require_diffusers

STABLE_DIFFUSION_VAE = dict(
    in_channels=3,
    out_channels=3,
    latent_channels=4,
    block_out_channels=(128, 256, 512, 512),
    layers_per_block=2,
    norm_num_groups=32,
    sample_size=768,
    down_block_types=('DownEncoderBlock2D',) * 4,
    up_block_types=('UpDecoderBlock2D',) * 4,
)
"""Arguments of the autoencoder of Stable Diffusion 1 and 2."""


@MODELS.register_module()
class KLAutoencoder(nn.Module):
    """diffusers' ``AutoencoderKL``, frozen: the latent is the mean of the posterior times ``scale``.

    Args:
        config: Keyword arguments of ``AutoencoderKL``; default: Stable Diffusion's.
        scale: Factor of the latents.
        pretrained: A folder with the autoencoder's weights, or a name on the Hugging Face hub; its subfolder ``vae``
            is used where there is one. Read when training starts; a checkpoint of this package holds them already.
        tiling: Encode and decode in overlapping tiles: bounded memory for large images, slightly other seams.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        scale: float = 0.18215,
        pretrained: str | None = None,
        tiling: bool = False,
    ) -> None:
        super().__init__()
        self.config = dict(config or STABLE_DIFFUSION_VAE)
        self.scale, self.pretrained = float(scale), pretrained
        self.network = require_diffusers().AutoencoderKL(**self.config)
        self.network.plain_for_inference = ('WinogradConv2d',)
        use_fast_linear(self.network).requires_grad_(False).to(memory_format=torch.channels_last)
        self.train()
        if tiling:
            self.network.enable_tiling()
        self.latent_channels = self.network.config.latent_channels
        self.factor = 2 ** (len(self.network.config.block_out_channels) - 1)

    def init_weights(self) -> None:
        """Read the pretrained weights, if any are named."""
        if self.pretrained:
            loaded = load_part(require_diffusers().AutoencoderKL.from_pretrained, self.pretrained, 'vae')
            self.network.load_state_dict(loaded.state_dict())

    def train(self, mode: bool = True) -> KLAutoencoder:
        """The frozen network is in the form for prediction in training too."""
        super().train(mode)
        optimize_for_inference(self.network)
        return self

    def encode(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, C, h, w), without gradient."""
        with torch.no_grad():
            return self.network.encode(image).latent_dist.mode() * self.scale

    def decode(self, latent: Tensor) -> Tensor:
        """(B, C, h, w) → (B, 3, ``factor`` h, ``factor`` w), not clipped."""
        return self.network.decode(latent / self.scale).sample


@MODELS.register_module()
class DCTAutoencoder(nn.Module):
    """A "VAE" without weights: the first coefficients of an orthonormal cosine transform of every block.

    Encoding and decoding are one convolution each, with the same kernel: decoding gives the projection of the image
    onto the kept coefficients, and the squared error of a latent is that of the projected image, up to a factor.

    Args:
        block: Side of a block in pixels, the factor between image and latent.
        kept: Coefficients per colour channel, lowest frequencies first; 3 × ``kept`` latent channels.
        gain: Factor of the latents on top of 1 / ``block``, which makes the first coefficient the block's mean.
    """

    def __init__(self, block: int = 8, kept: int = 6, gain: float = 1.0) -> None:
        super().__init__()
        if not 1 <= kept <= block * block:
            raise ConfigError(f'DCTAutoencoder: kept must lie between 1 and block² = {block * block}, got {kept}')
        self.factor, self.latent_channels = block, 3 * kept
        self.scale = gain / block
        self.register_buffer('kernel', self._kernel(block, kept), persistent=False)

    def init_weights(self) -> None:
        """Nothing to read."""

    @staticmethod
    def _kernel(block: int, kept: int) -> Tensor:
        """(3 kept, 3, block, block): every coefficient of every colour channel."""
        place = torch.arange(block, dtype=torch.float64)
        basis = torch.cos(math.pi / block * (place + 0.5) * place[:, None]) * math.sqrt(2 / block)
        basis[0] /= math.sqrt(2)
        order = sorted((i + j, i, j) for i in range(block) for j in range(block))[:kept]
        waves = torch.stack([torch.outer(basis[i], basis[j]) for _, i, j in order])
        kernel = torch.zeros(3, kept, 3, block, block, dtype=torch.float64)
        for colour in range(3):
            kernel[colour, :, colour] = waves
        return kernel.flatten(0, 1).float()

    def encode(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, C, h, w); rows and columns beyond the last whole block are left out."""
        return F.conv2d(image, self.kernel, stride=self.factor) * self.scale

    def decode(self, latent: Tensor) -> Tensor:
        """(B, C, h, w) → (B, 3, ``factor`` h, ``factor`` w)."""
        return F.conv_transpose2d(latent / self.scale, self.kernel, stride=self.factor)


def decode_in_parts(autoencoder: Any, latents: Tensor, step: int | None) -> Tensor:
    """Latents (N, C, h, w) → images, ``step`` at a time; None: all at once."""
    if step is None:
        return autoencoder.decode(latents)
    factor = autoencoder.factor
    # room for all results first: small ones between large temporaries would break up the memory
    images = latents.new_empty(len(latents), 3, factor * latents.shape[-2], factor * latents.shape[-1])
    for i in range(0, len(latents), step):
        images[i : i + step] = autoencoder.decode(latents[i : i + step])
    return images
