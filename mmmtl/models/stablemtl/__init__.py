"""StableMTL (2025): a latent diffusion UNet that regresses the latent of each task in one step."""

from .autoencoders import DCTAutoencoder, KLAutoencoder
from .converter import StableMTLConverter
from .exchange import Exchange, FeatureBank, Hiding, Recorder
from .latent_loss import latent_valid, masked_mse
from .model import LatentMultiTaskModel
from .task_attention import TaskAttention
from .task_tokens import LearnedTokens, TextTokens, TokenFile

__all__ = [
    'StableMTLConverter',
    'DCTAutoencoder',
    'Exchange',
    'FeatureBank',
    'Hiding',
    'KLAutoencoder',
    'LatentMultiTaskModel',
    'LearnedTokens',
    'Recorder',
    'TaskAttention',
    'TextTokens',
    'TokenFile',
    'latent_valid',
    'masked_mse',
]
