"""The six single-frame tasks of Diorama."""

tasks = dict(
    semseg=dict(
        type='SemanticSegmentation',
        classes=['wall', 'floor', 'ceiling', 'rug', 'table', 'box', 'ball', 'figure'],
        palette=[
            [158, 172, 186],
            [150, 118, 92],
            [222, 218, 206],
            [176, 82, 88],
            [196, 150, 84],
            [86, 128, 176],
            [226, 138, 72],
            [98, 158, 112],
        ],
        loss_weight=1.0,
    ),
    human_parts=dict(type='HumanParts', loss_weight=2.0),
    saliency=dict(type='Saliency', loss_weight=5.0),
    normals=dict(type='SurfaceNormals', loss_weight=2.0),
    boundary=dict(type='Boundary', positive_weight=0.8, max_dist=0.0075, loss_weight=10.0),
    depth=dict(type='Depth', max_depth=20.0, loss_weight=1.0),
)
