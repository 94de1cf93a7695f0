"""PASCAL-Context with HRNet, Swin and ViTAE: rows of ATRC, DeMT and MQTransformer.

ATRC's row is quoted by InvPT's page. None of the sources prints single-task metrics, so that no Δm follows.
"""

published_rows = dict(
    name='HRNet, Swin and ViTAE, PASCAL-Context',
    source='DeMT (AAAI 2023) and MQTransformer (2022), pages of their programs; ATRC (ICCV 2021) as quoted by InvPT',
    columns=['semseg/mIoU', 'human_parts/mIoU', 'saliency/maxF', 'normals/mErr', 'boundary/odsF'],
    units=[0.01, 0.01, 0.01, 1, 0.01],
    decimals=[2, 2, 2, 2, 2],
    rows={
        'ATRC, HRNet-48': [67.67, 62.93, 82.29, 14.24, 72.42],
        'DeMT, HRNet-18': [59.23, 57.93, 83.93, 14.02, 69.80],
        'DeMT, Swin-T': [69.71, 57.18, 82.63, 14.56, 71.20],
        'DeMT, Swin-S': [72.01, 58.96, 83.20, 14.57, 72.10],
        'DeMT, Swin-B': [75.33, 63.11, 83.42, 14.54, 73.20],
        'MQTransformer, Swin-T': [68.24, 57.05, 83.40, 14.56, 71.10],
        'MQTransformer, Swin-S': [71.25, 60.11, 84.05, 14.74, 71.80],
        'MQTransformer, ViTAEv2-S': [69.10, 58.23, 83.51, 13.73, 71.30],
    },
)
