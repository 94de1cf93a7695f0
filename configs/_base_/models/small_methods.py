"""Every method on one small ViT: what each needs between the backbone and the predictions."""

vit = dict(model_name='vit_tiny_patch16_224', patch_size=8, embed_dim=128, depth=8, num_heads=4)

plain_vit = dict(type='TimmBackbone')
levels = dict(type='LevelProjection', channels=48)
plain = dict(type='PlainDecoder', channels=64, num_blocks=3, block='mlp', upsample=4, head_kernel=3)
fusion = dict(type='ConcatFusion', channels=64, stride=4)
denoiser = dict(type='CrossDenoiser', hidden=64)
small_segnet = (16, 32, 64, 64, 64)

networks = dict(
    plain=dict(backbone=plain_vit, neck=levels, decoder=plain),
    xtc=dict(backbone=plain_vit, decoder=dict(type='XTC', filters=small_segnet, neck=levels, decoder=plain)),
    jtr=dict(backbone=plain_vit, decoder=dict(type='JTR', views=1, filters=small_segnet, neck=levels, decoder=plain)),
    mtinet=dict(
        backbone=plain_vit,
        neck=dict(type='LevelProjection', channels=48, stride=(4, 8, 16, 32)),
        decoder=dict(type='MTINetDecoder'),
    ),
    atrc=dict(
        backbone=plain_vit,
        neck=dict(type='LevelProjection', channels=48, stride=8),
        decoder=dict(type='ATRCDecoder', genotypes='3'),
    ),
    invpt=dict(backbone=plain_vit, decoder=dict(type='InvPTDecoder', channels=56, extra_channels=8)),
    taskprompter=dict(
        backbone=dict(type='PromptedViT'), decoder=dict(type='TaskPrompterDecoder', channels=48, width=48)
    ),
    mlore=dict(backbone=plain_vit, neck=levels, decoder=dict(type='MLoREDecoder')),
    tsp=dict(
        backbone=dict(type='TaskPromptViT', prompt_layers=4),
        decoder=dict(type='TSPDecoder', channels=56, extra_channels=8),
    ),
    demt=dict(backbone=plain_vit, neck=levels, decoder=dict(type='DeMTDecoder', width=64)),
    mqtransformer=dict(
        backbone=plain_vit, neck=levels, decoder=dict(type='MQTransformerDecoder', width=64, num_queries=16)
    ),
    taskexpert=dict(backbone=plain_vit, decoder=dict(type='TaskExpertDecoder', width=48, experts=4)),
    diffusionmtl=dict(
        backbone=plain_vit, neck=fusion, decoder=dict(type='DiffusionMTLDecoder', mode='feature', denoiser=denoiser)
    ),
    diffusionmtl_prediction=dict(
        backbone=plain_vit, neck=fusion, decoder=dict(type='DiffusionMTLDecoder', mode='prediction', denoiser=denoiser)
    ),
    taskdiffusion=dict(
        backbone=plain_vit, neck=levels, decoder=dict(type='TaskDiffusionDecoder', steps=3, upsample=4, aux_weight=0.25)
    ),
)
