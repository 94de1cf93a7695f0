"""NYUDv2 (13 classes, 288 x 384) with SegNet, a random number of labels per image: JTR.

Its Δm is taken to the supervised multi-task network, not to single-task ones.

Rows: the numbers as printed, then the printed Δm in percent; ``units`` makes them the units of the metrics.
"""

single_task_reference = dict(
    name='supervised multi-task SegNet, NYUDv2, a random number of labels per image',
    source='Nishi et al., Joint-Task Regularization for Partially Labeled Multi-Task Learning, CVPR 2024, poster',
    columns=['semseg/mIoU', 'depth/absErr', 'normals/mErr'],
    units=[0.01, 1, 1],
    decimals=[2, 4, 2],
    single_task=[27.05, 0.6624, 33.58],
    rows={
        'consistency': [29.50, 0.6224, 33.31, 5.30],
        'direct map': [29.17, 0.6128, 33.63, 5.06],
        'perceptual map': [32.20, 0.6037, 32.07, 10.80],
        'XTC': [35.60, 0.5576, 29.70, 19.66],
        'JTR': [37.08, 0.5541, 29.44, 21.92],
    },
)
