"""Cityscapes (7 classes, 128 x 256) with SegNet, one label per image: JTR.

Its Δm is taken to the supervised multi-task network, not to single-task ones. Four decimals of an error near 0.018 leave
a tenth of a percent open.

Rows: the numbers as printed, then the printed Δm in percent; ``units`` makes them the units of the metrics.
"""

single_task_reference = dict(
    name='supervised multi-task SegNet, Cityscapes, one label per image',
    source='Nishi et al., Joint-Task Regularization for Partially Labeled Multi-Task Learning, CVPR 2024, poster',
    columns=['semseg/mIoU', 'depth/absErr'],
    units=[0.01, 1],
    decimals=[2, 4],
    single_task=[69.50, 0.0186],
    rows={'consistency': [71.67, 0.0178, 3.71], 'XTC': [72.09, 0.0168, 6.70], 'JTR': [72.33, 0.0163, 8.22]},
)
