"""HRNet-W48 with all four resolutions (mmsegmentation's), ImageNet weights of the OpenMMLab zoo."""

bn_momentum = 0.1  # 0.01 in MTI-Net's program


def stage(modules, widths, blocks, block='BASIC'):
    return dict(
        num_modules=modules,
        num_branches=len(widths),
        block=block,
        num_blocks=(blocks,) * len(widths),
        num_channels=widths,
    )


widths = (48, 96, 192, 384)
hrnet = dict(
    type='mmseg.HRNet',
    norm_cfg=dict(type='BN', momentum=bn_momentum),
    norm_eval=False,
    extra=dict(
        stage1=stage(1, (64,), 4, 'BOTTLENECK'),
        stage2=stage(1, widths[:2], 4),
        stage3=stage(4, widths[:3], 4),
        stage4=stage(3, widths, 4),
    ),
    init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://msra/hrnetv2_w48'),
)
