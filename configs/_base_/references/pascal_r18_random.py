"""PASCAL-Context with ResNet-18, a random number of labels per image: DiffusionMTL.

Rows: the numbers as printed, then the printed Δm in percent; ``units`` makes them the units of the metrics.
"""

single_task_reference = dict(
    name='single-task ResNet-18, PASCAL-Context, a random number of labels per image',
    source=(
        'Ye and Xu, DiffusionMTL: Learning Multi-Task Denoising Diffusion Model from Partially Annotated Data, '
        'CVPR 2024'
    ),
    columns=['semseg/mIoU', 'human_parts/mIoU', 'saliency/maxF_upstream', 'normals/mErr', 'boundary/odsF'],
    units=[0.01, 0.01, 0.01, 1, 0.01],
    decimals=[2, 2, 2, 2, 2],
    single_task=[51.51, 57.90, 80.30, 15.24, 67.80],
    rows={
        'multi-task baseline': [62.23, 55.88, 78.67, 15.47, 66.70, 2.44],
        'XTC, re-implemented': [62.44, 55.81, 78.56, 15.45, 66.80, 2.52],
        'Prediction Diffusion': [63.68, 55.84, 79.87, 15.38, 66.80, 3.44],
        'Feature Diffusion': [62.55, 56.84, 80.44, 14.85, 67.10, 4.27],
    },
)
