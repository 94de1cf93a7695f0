"""StableMTL's benchmarks: the single-task network (Lotus-D) of its main table.

Six of the eight metrics are known (relative depth error on DIODE and the error of shading are not), so the
printed Δm over eight cannot be recomputed. Every metric comes from a data set of its own.
"""

single_task_reference = dict(
    name='single-task Lotus-D',
    source='Cao, Lopes and de Charette, StableMTL, arXiv 2506.08013v2',
    columns=[
        'semseg/mIoU',
        'normals/mErr_upstream',
        'depth/relErr_upstream',
        'optical_flow/EPE_upstream',
        'scene_flow/EPE_upstream',
        'albedo/RMSE_upstream',
    ],
    units=[0.01, 1, 0.01, 1, 1, 1],
    decimals=[2, 2, 2, 2, 4, 4],
    single_task=[48.17, 22.27, 14.21, 10.36, 0.2735, 0.2551],
    rows={
        'JTR': [20.46, 50.91, 39.27, 34.92, 0.5176, 0.3565],
        'DiffusionMTL': [45.92, 44.56, 24.83, 36.60, 0.3502, 0.3660],
        'StableMTL-S': [52.57, 23.94, 15.64, 12.76, 0.2618, 0.2077],
        'StableMTL': [55.79, 23.27, 14.98, 10.76, 0.2313, 0.2016],
    },
)
