"""The two tasks of Cityscapes in the MTAN packing: 7 groups of classes, and inverse depth."""

tasks = dict(
    semseg=dict(
        type='SemanticSegmentation',
        classes=['flat', 'construction', 'object', 'nature', 'sky', 'human', 'vehicle'],
        palette=[
            [128, 64, 128],
            [70, 70, 70],
            [153, 153, 153],
            [107, 142, 35],
            [70, 130, 180],
            [220, 20, 60],
            [0, 0, 142],
        ],
        loss_weight=1.0,
    ),
    depth=dict(type='Depth', max_depth=1.0, loss_weight=1.0),
)
