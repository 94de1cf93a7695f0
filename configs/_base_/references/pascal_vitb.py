"""PASCAL-Context with ViT-B, fully labelled: the ablations of TaskDiffusion.

The single-task row is that of Table 7: the printed Δm follow from it (that of scale 0.04 to 0.05 only), and not
from the "Single Task Learning" row of Table 3 (79.63 69.76 85.37 13.41 76.15).

Rows: the numbers as printed, then the printed Δm in percent where there is one; ``units`` makes them the units of the metrics.
"""

single_task_reference = dict(
    name='single-task ViT-B, PASCAL-Context',
    source=(
        'Yang et al., Multi-Task Dense Predictions via Unleashing the Power of Diffusion, ICLR 2025, Tables 3 to 7; '
        'released weights: the pages of their programs'
    ),
    columns=['semseg/mIoU', 'human_parts/mIoU', 'saliency/maxF', 'normals/mErr', 'boundary/odsF'],
    units=[0.01, 0.01, 0.01, 1, 0.01],
    decimals=[2, 2, 2, 2, 2],
    single_task=[79.18, 69.57, 85.28, 13.45, 75.60],
    rows={
        'baseline': [77.34, 66.17, 85.18, 13.78, 72.40, -2.80],
        'task-specific diffusion decoder': [77.41, 67.15, 85.29, 13.83, 74.40, -2.02],
        'cross-task diffusion decoder': [78.51, 67.32, 85.26, 13.47, 74.60, -1.11],
        'TaskDiffusion': [78.83, 67.40, 85.31, 13.38, 74.68, -0.84],
        'cross attention': [78.39, 67.16, 85.42, 13.61, 74.10, -1.49],
        'concatenation': [78.31, 67.58, 85.25, 13.51, 74.80, -1.10],
        'without level interaction': [78.03, 67.62, 85.27, 13.42, 74.55, -1.09],
        'scale 0.04': [76.47, 66.03, 85.06, 13.45, 74.80, -2.01],
        'scale 0.02': [78.78, 67.25, 85.44, 13.48, 74.83, -0.98],
        'scale 0.001': [78.72, 67.58, 85.25, 13.51, 74.80, -1.00],
        'TaskDiffusion, single task': [79.54, 70.71, 85.35, 13.37, 77.19, 0.97],
        'TaskPrompter, released weights': [78.63, 66.93, 84.77, 13.42, 73.60],
        'MLoRE, released weights': [79.26, 67.82, 85.31, 13.65, 74.69],
    },
)
