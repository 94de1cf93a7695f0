"""Parts of the latent-diffusion model: autoencoders, task tokens, task attention and what the streams exchange."""

from .autoencoders import DCTAutoencoder, KLAutoencoder
from .exchange import Exchange, FeatureBank, Hiding, Recorder
from .latent_loss import latent_valid, masked_mse
from .task_attention import TaskAttention
from .task_tokens import LearnedTokens, TextTokens, TokenFile

__all__ = [
    'DCTAutoencoder',
    'Exchange',
    'FeatureBank',
    'Hiding',
    'KLAutoencoder',
    'LearnedTokens',
    'Recorder',
    'TaskAttention',
    'TextTokens',
    'TokenFile',
    'latent_valid',
    'masked_mse',
]
