"""The tasks that CamVid's label maps give: 11 classes, and the boundaries between them."""

tasks = dict(
    semseg=dict(
        type='SemanticSegmentation',
        classes=[
            'sky',
            'building',
            'pole',
            'road',
            'pavement',
            'tree',
            'sign',
            'fence',
            'car',
            'pedestrian',
            'bicyclist',
        ],
        palette=[
            [128, 178, 217],
            [136, 106, 94],
            [192, 192, 128],
            [96, 80, 112],
            [170, 150, 190],
            [96, 132, 74],
            [214, 170, 80],
            [92, 92, 160],
            [64, 60, 130],
            [196, 92, 60],
            [54, 140, 150],
        ],
        loss_weight=1.0,
    ),
    boundary=dict(type='Boundary', positive_weight=0.9, max_dist=0.0075, loss_weight=10.0),
)
