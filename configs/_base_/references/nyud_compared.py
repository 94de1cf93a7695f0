"""NYUDv2 (40 classes) with HRNet and Swin: rows of ATRC, DeMT and MQTransformer.

ATRC's row is quoted by InvPT's page. None of the sources prints single-task metrics, so that no Δm follows.
"""

published_rows = dict(
    name='HRNet and Swin, NYUDv2',
    source='DeMT (AAAI 2023) and MQTransformer (2022), pages of their programs; ATRC (ICCV 2021) as quoted by InvPT',
    columns=['semseg/mIoU', 'depth/RMSE', 'normals/mErr', 'boundary/odsF'],
    units=[0.01, 1, 1, 0.01],
    decimals=[2, 4, 2, 2],
    rows={
        'ATRC, HRNet-48': [46.33, 0.5363, 20.18, 77.94],
        'DeMT, HRNet-18': [39.18, 0.5922, 20.21, 76.40],
        'DeMT, Swin-T': [46.36, 0.5871, 20.60, 76.90],
        'DeMT, Swin-S': [51.50, 0.5474, 20.02, 78.10],
        'DeMT, Swin-B': [54.34, 0.5209, 19.21, 78.50],
        'DeMT, Swin-L': [56.94, 0.5007, 19.14, 78.80],
        'MQTransformer, Swin-L': [54.84, 0.5325, 19.67, 78.20],
    },
)
