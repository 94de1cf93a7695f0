"""The seven tasks of StableMTL on Diorama's pairs of frames, figures after alignment as in the paper."""

tasks = dict(
    albedo=dict(type='Albedo', metric=dict(type='ImageError', protocol='upstream')),
    shading=dict(type='Shading', metric=dict(type='ImageError', protocol='upstream')),
    depth=dict(type='Depth', max_depth=20.0, metric=dict(type='DepthError', max_depth=20.0, protocol='upstream')),
    normals=dict(type='SurfaceNormals', metric=dict(type='NormalsError', protocol='upstream')),
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
    ),
    optical_flow=dict(type='OpticalFlow', metric=dict(type='EndPointError', protocol='upstream')),
    scene_flow=dict(type='SceneFlow', metric=dict(type='EndPointError', protocol='upstream')),
)
