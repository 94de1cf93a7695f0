"""NYUDv2 (13 classes, 288 x 384) with ResNet-18, one label per image: DiffusionMTL.

Rows: the numbers as printed, then the printed Δm in percent; ``units`` makes them the units of the metrics.
"""

single_task_reference = dict(
    name='single-task ResNet-18, NYUDv2, one label per image',
    source=(
        'Ye and Xu, DiffusionMTL: Learning Multi-Task Denoising Diffusion Model from Partially Annotated Data, '
        'CVPR 2024'
    ),
    columns=['semseg/mIoU', 'depth/absErr', 'normals/mErr'],
    units=[0.01, 1, 1],
    decimals=[2, 4, 2],
    single_task=[45.28, 0.4802, 25.93],
    rows={
        'multi-task baseline': [43.92, 0.5138, 26.44, -3.99],
        'XTC, re-implemented': [43.97, 0.5140, 26.30, -3.79],
        'Prediction Diffusion': [44.97, 0.5137, 26.17, -2.86],
        'Feature Diffusion': [44.47, 0.5059, 25.84, -2.27],
    },
)
