"""HRNet-W18-small, or a wider one, with all four resolutions (mmsegmentation's), ImageNet weights of the OpenMMLab zoo."""

hrnet_width = 18  # or 48
bn_momentum = 0.1  # 0.01 in MTI-Net's program

is_small = hrnet_width == 18
blocks = 2 if is_small else 4
widths = tuple(hrnet_width * 2**i for i in range(4))


def stage(modules, widths, block='BASIC'):
    return dict(
        num_modules=modules,
        num_branches=len(widths),
        block=block,
        num_blocks=(blocks,) * len(widths),
        num_channels=widths,
    )


hrnet = dict(
    type='mmseg.HRNet',
    norm_cfg=dict(type='BN', momentum=bn_momentum),
    norm_eval=False,
    extra=dict(
        stage1=stage(1, (64,), 'BOTTLENECK'),
        stage2=stage(1, widths[:2]),
        stage3=stage(3 if is_small else 4, widths[:3]),
        stage4=stage(2 if is_small else 3, widths),
    ),
    init_cfg=dict(
        type='Pretrained', checkpoint=f'open-mmlab://msra/hrnetv2_w{hrnet_width}' + ('_small' if is_small else '')
    ),
)
