"""PASCAL-Context with ViT-L, fully labelled: TaskDiffusion, Table 1.

Rows: the numbers as printed, then the printed Δm in percent where there is one; ``units`` makes them the units of the metrics.
"""

single_task_reference = dict(
    name='single-task ViT-L, PASCAL-Context',
    source=(
        'Yang et al., Multi-Task Dense Predictions via Unleashing the Power of Diffusion, ICLR 2025, Table 1; released '
        'weights: the pages of their programs'
    ),
    columns=['semseg/mIoU', 'human_parts/mIoU', 'saliency/maxF', 'normals/mErr', 'boundary/odsF'],
    units=[0.01, 0.01, 0.01, 1, 0.01],
    decimals=[2, 2, 2, 2, 2],
    single_task=[81.62, 72.21, 84.34, 13.59, 76.79],
    rows={
        'MTI-Net': [78.31, 67.40, 84.75, 14.67, 73.00, -4.62],
        'ATRC': [77.11, 66.84, 81.20, 14.23, 72.10, -5.50],
        'MQTransformer': [77.72, 65.14, 84.43, 14.63, 54.77, -10.16],
        'DeMT': [78.96, 67.39, 84.26, 14.53, 55.29, -8.99],
        'InvPT': [79.03, 67.61, 84.81, 14.15, 73.00, -3.61],
        'InvPT, released weights': [79.91, 68.54, 84.38, 13.90, 72.90],
        'TaskPrompter': [80.89, 68.89, 84.83, 13.72, 73.50, -2.03],
        'TaskPrompter, released weights': [80.79, 68.81, 84.26, 13.58, 73.80],
        'TaskExpert': [80.64, 69.42, 84.87, 13.56, 73.30, -1.74],
        'DiffusionMTL': [80.46, 69.13, 84.85, 14.02, 70.96, -3.16],
        'TSP-Transformer': [81.48, 70.64, 84.86, 13.69, 74.8, -1.01],
        'MLoRE': [81.41, 70.52, 84.90, 13.51, 75.42, -0.62],
        'TaskDiffusion': [81.21, 69.62, 84.94, 13.55, 74.89, -1.11],
        'TaskDiffusion + MLoRE': [81.58, 71.30, 85.05, 13.43, 76.07, -0.04],
    },
)
