"""StableMTL (Cao, Lopes, de Charette, arXiv 2506.08013): a latent-diffusion UNet regresses every task in one step.

A reader begins with ``model.py`` (single-stream and multi-stream model, objective), then ``task_attention.py`` (1-to-N
attention), ``streams.py`` (what passes between the streams, task masking), ``unet.py`` and ``task_tokens.py``.

=============================  =======================================================  ==========================
Paper                          Here                                                     Shape
=============================  =======================================================  ==========================
E, D                           ``autoencoder.encode``, ``autoencoder.decode``
f_τ(y), p_τ                    ``task.to_image(label)``, ``task.from_image(picture)``   (B, 3, H, W)
z                              ``encode_frames(inputs)``                                (B, C, h, w), h = H / 8
task token                     ``tokens(task)``                                         (L, D)
ẑ = UNet([z, z', 0], t, τ)     ``auxiliary_stream``, ``main_stream``                    (B, C, h, w)
L                              ``masked_mse(ẑ, E(f_τ(y)), valid cells)``
θ, frozen auxiliary stream     ``auxiliary``
φ, main stream                 ``unet`` and ``task_attention``
a, output of a self-attention  argument ``a`` of ``TaskAttention``                      (B, N, C_l), N = pixels
F_τ, auxiliary feature         ``AuxiliaryFeatures``                                    (B, N, C_l) per τ and layer
Q_T, K_τ, V_τ                  ``query[T]``, ``key[τ]``, ``value[τ]``                   (B, N, C_l)
w = softmax_τ(Q_T(a) K_τ(F))   ``attention_weights``                                    (S, B, N, heads)
a + W_o Σ_τ w V_τ(F_τ)         ``TaskAttention.forward``                                (B, N, C_l)
ρ, task masking                ``task_mask_prob``, ``TaskMasking``
=============================  =======================================================  ==========================
"""

from .autoencoders import DCTAutoencoder, KLAutoencoder
from .converter import StableMTLConverter
from .latent_loss import latent_valid, masked_mse
from .model import LatentMultiTaskModel
from .streams import AuxiliaryFeatures, AuxiliaryStream, MainStream, TaskMasking
from .task_attention import TaskAttention
from .task_tokens import LearnedTokens, TextTokens, TokenFile
from .video import predict_video

__all__ = [
    'AuxiliaryFeatures',
    'AuxiliaryStream',
    'DCTAutoencoder',
    'KLAutoencoder',
    'LatentMultiTaskModel',
    'LearnedTokens',
    'MainStream',
    'StableMTLConverter',
    'TaskAttention',
    'TaskMasking',
    'TextTokens',
    'TokenFile',
    'latent_valid',
    'masked_mse',
    'predict_video',
]
