"""The five tasks of PASCAL-Context, in the order of the published models, with the published loss weights."""

tasks = dict(
    semseg=dict(
        type='SemanticSegmentation',
        classes=['background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow',
                 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa',
                 'train', 'tvmonitor'],
        palette=[[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128],
                 [128, 128, 128], [64, 0, 0], [192, 0, 0], [64, 128, 0], [192, 128, 0], [64, 0, 128], [192, 0, 128],
                 [64, 128, 128], [192, 128, 128], [0, 64, 0], [128, 64, 0], [0, 192, 0], [128, 192, 0], [0, 64, 128]],
        loss_weight=1.0),
    human_parts=dict(type='HumanParts', loss_weight=2.0),
    saliency=dict(
        type='Saliency', loss_weight=5.0,
        metric=[dict(type='SaliencyMeasure'), dict(type='SaliencyMeasure', protocol='upstream')]),
    normals=dict(type='SurfaceNormals', loss_weight=10.0),
    boundary=dict(type='Boundary', positive_weight=0.95, max_dist=0.0075, loss_weight=50.0))  # fmt: skip
