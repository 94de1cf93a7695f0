"""Cityscapes (7 classes, 128 x 256) with ResNet-18, one label per image: DiffusionMTL.

Four decimals of an error near 0.013 leave half a percent open, so printed and recomputed Δm differ.

Rows: the numbers as printed, then the printed Δm in percent; ``units`` makes them the units of the metrics.
"""

single_task_reference = dict(
    name='single-task ResNet-18, Cityscapes, one label per image',
    source=(
        'Ye and Xu, DiffusionMTL: Learning Multi-Task Denoising Diffusion Model from Partially Annotated Data, '
        'CVPR 2024'
    ),
    columns=['semseg/mIoU', 'depth/absErr'],
    units=[0.01, 1],
    decimals=[2, 4],
    single_task=[75.82, 0.0125],
    rows={
        'multi-task baseline': [73.19, 0.0168, -18.81],
        'XTC, re-implemented': [73.36, 0.0158, -14.74],
        'Prediction Diffusion': [74.90, 0.0131, -2.79],
        'Feature Diffusion': [75.67, 0.0130, -2.13],
    },
)
