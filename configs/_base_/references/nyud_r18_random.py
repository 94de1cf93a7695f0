"""NYUDv2 (13 classes, 288 x 384) with ResNet-18, a random number of labels per image: DiffusionMTL.

Rows: the numbers as printed, then the printed Δm in percent; ``units`` makes them the units of the metrics.
"""

single_task_reference = dict(
    name='single-task ResNet-18, NYUDv2, a random number of labels per image',
    source=(
        'Ye and Xu, DiffusionMTL: Learning Multi-Task Denoising Diffusion Model from Partially Annotated Data, '
        'CVPR 2024'
    ),
    columns=['semseg/mIoU', 'depth/absErr', 'normals/mErr'],
    units=[0.01, 1, 1],
    decimals=[2, 4, 2],
    single_task=[48.25, 0.4792, 24.65],
    rows={
        'multi-task baseline': [45.93, 0.4839, 25.53, -3.12],
        'XTC, re-implemented': [46.03, 0.4811, 25.97, -3.44],
        'Prediction Diffusion': [47.44, 0.4803, 25.26, -1.45],
        'Feature Diffusion': [46.82, 0.4743, 24.75, -0.77],
    },
)
