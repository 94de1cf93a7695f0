"""PASCAL-Context with ResNet-18, one label per image: DiffusionMTL.

The printed Δm of the row "without diffusion" does not follow from its numbers (-0.03).

Rows: the numbers as printed, then the printed Δm in percent; ``units`` makes them the units of the metrics.
"""

single_task_reference = dict(
    name='single-task ResNet-18, PASCAL-Context, one label per image',
    source=(
        'Ye and Xu, DiffusionMTL: Learning Multi-Task Denoising Diffusion Model from Partially Annotated Data, '
        'CVPR 2024'
    ),
    columns=['semseg/mIoU', 'human_parts/mIoU', 'saliency/maxF_upstream', 'normals/mErr', 'boundary/odsF'],
    units=[0.01, 0.01, 0.01, 1, 0.01],
    decimals=[2, 2, 2, 2, 2],
    single_task=[50.34, 59.05, 77.43, 16.59, 64.40],
    rows={
        'multi-task baseline': [49.71, 56.00, 74.50, 16.85, 62.80, -2.85],
        'XTC, re-implemented': [55.08, 56.72, 77.06, 16.93, 63.70, 0.37],
        'MTI-Net': [54.32, 57.73, 77.12, 16.41, 64.20, 1.21],
        'InvPT': [56.96, 57.05, 77.19, 16.80, 63.20, 1.27],
        'Prediction Diffusion': [59.43, 56.79, 77.57, 16.20, 64.00, 3.23],
        'Feature Diffusion': [57.78, 58.98, 77.82, 16.11, 64.50, 3.65],
        'Feature Diffusion, released weights': [57.16, 59.28, 78.00, 16.17, 64.60, 3.50],
        'without diffusion': [57.77, 56.39, 77.44, 17.34, 60.60, 0.11],
        'without multi-task conditioning': [55.95, 55.90, 77.22, 17.87, 61.50, -1.33],
    },
)
