"""NYUDv2 (40 classes) with ViT-L, fully labelled: rows of the methods' own papers and pages.

None of them prints single-task metrics, so that no Δm follows. "Released weights" are what the authors say of their files.
"""

published_rows = dict(
    name='ViT-L, NYUDv2',
    source=(
        'InvPT (ECCV 2022), TaskPrompter (ICLR 2023), TSP-Transformer (WACV 2024), MLoRE (CVPR 2024), TaskDiffusion '
        '(ICLR 2025), and the pages of their programs'
    ),
    columns=['semseg/mIoU', 'depth/RMSE', 'normals/mErr', 'boundary/odsF'],
    units=[0.01, 1, 1, 0.01],
    decimals=[2, 4, 2, 2],
    rows={
        'InvPT': [53.56, 0.5183, 19.04, 78.10],
        'InvPT, released weights': [53.65, 0.5083, 18.68, 77.80],
        'TaskPrompter': [55.30, 0.5152, 18.47, 78.20],
        'TaskPrompter, released weights': [55.90, 0.5062, 18.58, 77.70],
        'TSP-Transformer': [55.39, 0.4961, 18.44, 77.50],
        'MLoRE': [55.96, 0.5076, 18.33, 78.43],
        'TaskDiffusion': [55.65, 0.5020, 18.43, 78.64],
        'TaskDiffusion + MLoRE': [56.66, 0.5033, 18.13, 78.89],
    },
)
