"""PASCAL-Context with ResNet-18, all labels: DiffusionMTL.

Rows: the numbers as printed, then the printed Δm in percent; ``units`` makes them the units of the metrics.
"""

single_task_reference = dict(
    name='single-task ResNet-18, PASCAL-Context, all labels',
    source=(
        'Ye and Xu, DiffusionMTL: Learning Multi-Task Denoising Diffusion Model from Partially Annotated Data, '
        'CVPR 2024'
    ),
    columns=['semseg/mIoU', 'human_parts/mIoU', 'saliency/maxF_upstream', 'normals/mErr', 'boundary/odsF'],
    units=[0.01, 0.01, 0.01, 1, 0.01],
    decimals=[2, 2, 2, 2, 2],
    single_task=[52.56, 62.21, 82.75, 14.12, 68.90],
    rows={
        'multi-task baseline': [62.91, 57.37, 81.82, 14.49, 66.40, 0.90],
        'XTC': [63.29, 57.93, 82.09, 14.48, 66.50, 1.34],
        'InvPT': [64.38, 59.49, 83.52, 14.75, 66.80, 2.31],
        'Prediction Diffusion': [64.31, 58.68, 83.07, 14.44, 67.10, 2.44],
        'Feature Diffusion': [64.62, 60.14, 83.99, 14.17, 67.80, 3.84],
    },
)
