"""A latent model small enough to train on a CPU: a block cosine transform as autoencoder, tokens that are learned."""

model = dict(
    type='LatentMultiTaskModel',
    autoencoder=dict(type='DCTAutoencoder', block=4, kept=5),
    tokens=dict(type='LearnedTokens', length=2),
    unet=dict(
        sample_size=16,
        block_out_channels=(64, 128),
        layers_per_block=1,
        attention_head_dim=4,
        cross_attention_dim=32,
        norm_num_groups=8,
        use_linear_projection=True,
        down_block_types=('CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'),
        up_block_types=('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D'),
    ),
)
