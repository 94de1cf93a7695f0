"""The four tasks of NYUDv2 (40 classes), in the order of the published models, with the published loss weights."""

tasks = dict(
    semseg=dict(
        type='SemanticSegmentation',
        classes=['wall', 'floor', 'cabinet', 'bed', 'chair', 'sofa', 'table', 'door', 'window', 'bookshelf',
                 'picture', 'counter', 'blinds', 'desk', 'shelves', 'curtain', 'dresser', 'pillow', 'mirror',
                 'floor mat', 'clothes', 'ceiling', 'books', 'refridgerator', 'television', 'paper', 'towel',
                 'shower curtain', 'box', 'whiteboard', 'person', 'night stand', 'toilet', 'sink', 'lamp', 'bathtub',
                 'bag', 'otherstructure', 'otherfurniture', 'otherprop'],
        loss_weight=1.0),
    depth=dict(type='Depth', max_depth=80.0, loss_weight=1.0),
    normals=dict(type='SurfaceNormals', loss_weight=10.0),
    boundary=dict(
        type='Boundary', positive_weight=0.9, max_dist=0.011, loss_weight=50.0,
        metric=dict(type='BoundaryMeasure', max_dist=0.011, label='regions')))  # fmt: skip
