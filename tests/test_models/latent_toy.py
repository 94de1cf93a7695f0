"""Small latent models, and the published program with the same weights."""

from __future__ import annotations

import torch

from mmmtl.models import LatentMultiTaskModel

NAMES = {
    'albedo': 'albedo',
    'shading': 'shading',
    'depth': 'depth',
    'normal': 'normals',
    'semantic': 'semseg',
    'optical_flow': 'optical_flow',
    'scene_flow': 'scene_flow',
}
"""Published names → ours."""
PALETTE = [(128, 64, 128), (70, 70, 70), (250, 170, 30), (107, 142, 35)]
TASKS = dict(
    albedo=dict(type='Albedo'),
    shading=dict(type='Shading'),
    depth=dict(type='Depth'),
    normals=dict(type='SurfaceNormals'),
    semseg=dict(type='SemanticSegmentation', classes=4, palette=PALETTE),
    optical_flow=dict(type='OpticalFlow'),
    scene_flow=dict(type='SceneFlow'),
)
UNET = dict(
    sample_size=8,
    block_out_channels=(16, 32),
    layers_per_block=1,
    attention_head_dim=2,
    cross_attention_dim=12,
    norm_num_groups=4,
    use_linear_projection=True,
    down_block_types=('CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'),
    up_block_types=('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'),
)
VAE = dict(
    block_out_channels=(8, 16, 16, 16),
    norm_num_groups=4,
    layers_per_block=1,
    latent_channels=4,
    down_block_types=('DownEncoderBlock2D',) * 4,
    up_block_types=('UpDecoderBlock2D',) * 4,
)
TASK_ATTENTION = dict(heads=2, query_width=20)


def make(
    task_attention: dict | None = None,
    vae: bool = False,
    seed: int = 0,
    tasks: dict | None = None,
    random_out: bool = True,
    **options,
) -> LatentMultiTaskModel:
    """A model; with ``task_attention`` its task attention is not zero, so that it shows."""
    torch.manual_seed(seed)
    autoencoder = dict(type='KLAutoencoder', config=VAE) if vae else dict(type='DCTAutoencoder', block=4, kept=3)
    options = {'unet': UNET, 'tokens': dict(type='LearnedTokens', length=2), **options}
    model = LatentMultiTaskModel(tasks or TASKS, autoencoder, task_attention=task_attention, **options)
    model.init_weights()
    if task_attention is not None and random_out:
        for layer in model.task_attention.values():
            torch.nn.init.normal_(layer.out.weight, std=0.3)
            torch.nn.init.normal_(layer.out.bias, std=0.3)
    return model.eval()
