"""The seven tasks of StableMTL in its training order; figures after alignment, as the paper compares them."""

tasks = dict(
    albedo=dict(type='Albedo', metric=dict(type='ImageError', protocol='upstream')),
    shading=dict(type='Shading', metric=dict(type='ImageError', protocol='upstream')),
    depth=dict(type='Depth', metric=dict(type='DepthError', protocol='upstream')),
    # the released weights, and VAE images of normals in general, hold x to the left
    normals=dict(type='SurfaceNormals', image_signs=(-1, 1, 1), metric=dict(type='NormalsError', protocol='upstream')),
    semseg=dict(
        type='SemanticSegmentation',
        classes=['road', 'building', 'pole', 'traffic light', 'traffic sign', 'vegetation', 'sky', 'vehicle'],
        palette=[
            [128, 64, 128],
            [70, 70, 70],
            [153, 153, 153],
            [250, 170, 30],
            [220, 220, 0],
            [107, 142, 35],
            [70, 130, 180],
            [0, 0, 142],
        ],
    ),
    optical_flow=dict(type='OpticalFlow', metric=dict(type='EndPointError', protocol='upstream')),
    scene_flow=dict(type='SceneFlow', metric=dict(type='EndPointError', protocol='upstream')),
)
