"""The three tasks of NYUDv2 in the MTAN packing (13 classes), weighted equally as in MTPSL."""

tasks = dict(
    semseg=dict(
        type='SemanticSegmentation',
        classes=[
            'bed',
            'books',
            'ceiling',
            'chair',
            'floor',
            'furniture',
            'objects',
            'picture',
            'sofa',
            'table',
            'tv',
            'wall',
            'window',
        ],
        loss_weight=1.0,
    ),
    depth=dict(type='Depth', max_depth=10.0, loss_weight=1.0),
    normals=dict(type='SurfaceNormals', loss_weight=1.0),
)
