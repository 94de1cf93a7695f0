"""StableMTL: Hypersim, Virtual KITTI 2 and FlyingThings3D to train on, eight benchmarks on five other sets to compare.

Pixels are picked, not averaged, in both (``ResampleNearest``): what the published weights are used to.
"""

_base_ = '../tasks/stablemtl.py'

data_root = 'data'
hypersim_root, vkitti_root = f'{data_root}/hypersim/train', f'{data_root}/vkitti_v2'
things_root, cityscapes_root = f'{data_root}/FlyingThings3D', f'{data_root}/cityscapes'
diode_root, mid_root = f'{data_root}/diode/val', f'{data_root}/mid_intrinsics'
kitti_root, kitti2015_root = f'{data_root}/kitti', f'{data_root}/kitti2015'
lists = f'{data_root}/lists/'  # of tools/dataset_converters/split_lists.py, or the authors'
crop_size = None  # of all training images; None: every set's own
batch_size = 16
frames = (
    None  # of a sample: 1 or 2 (Hypersim has single frames); None: a pair where a label that is asked for needs one
)
cycle_tasks = True  # one task per update; False: every image with all its labels
label_setting = 'full'  # or 'onelabel', 'random'
label_map = None  # a file that says which labels there are, instead of a setting
label_sampler = (
    dict(type='LabelMap', path=label_map)
    if label_map
    else dict(type=dict(full='FullLabels', onelabel='OneLabel', random='RandomLabels')[label_setting])
)
published = True  # compare as the published program does, where it errs too: figures are those of the paper

indoor = [
    dict(type='RandomFlip'),
    dict(type='ResampleNearest', size=crop_size or (288, 384)),
    dict(type='PackMTLInputs'),
]
street = [
    dict(type='RandomFlip'),
    dict(type='ResampleNearest', size=crop_size or (187, 621)),
    dict(type='PackMTLInputs'),
]
things = [
    dict(type='RandomFlip'),
    dict(type='RandomVerticalFlip'),
    dict(type='ResampleNearest', size=crop_size or (268, 480)),
    dict(type='PackMTLInputs'),
]
street_flow = [
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.127),
    dict(type='RandomFlip'),
    dict(type='RandomCrop', size=(256, 1024)),
    dict(type='ResampleNearest', size=crop_size or (187, 621)),
    dict(type='PackMTLInputs'),
]
jitter = dict(type='ColorJitter', brightness=0.3, contrast=0.3, saturation=0.3, hue=0.159)

# tasks that are left out (only_tasks) are None here, and their data sets go
albedo, shading, depth, normals = (_base_.tasks.get(k) for k in ('albedo', 'shading', 'depth', 'normals'))
semseg, optical_flow, scene_flow = (_base_.tasks.get(k) for k in ('semseg', 'optical_flow', 'scene_flow'))
hypersim = dict(type='Hypersim', data_root=hypersim_root, pipeline=indoor, label_sampler=label_sampler)
vkitti = dict(type='VKITTI2', data_root=vkitti_root, frames=frames, label_sampler=label_sampler)
flying = dict(
    type='FlyingThings3D',
    data_root=things_root,
    split_file=lists + 'flying_things_3D_train.txt',
    frames=frames,
    label_sampler=label_sampler,
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    batch_sampler=dict(
        type='TaskCycleBatchSampler',
        accumulation=2,
        shares=dict(depth=[0.9, 0.1], normals=[0.9, 0.1], optical_flow=[0.5, 0.5], scene_flow=[0.5, 0.5]),
    )
    if cycle_tasks
    else None,
    dataset=dict(
        type='MixedDataset',
        datasets=[
            dict(
                hypersim,
                split_file=lists + 'filename_list_train_no_nandepth.txt',
                tasks=dict(albedo=albedo, shading=shading, depth=depth),
            ),
            dict(hypersim, split_file=lists + 'filename_list_train_normal.txt', tasks=dict(normals=normals)),
            dict(
                vkitti,
                split_file=lists + 'vkitti_depth_train.txt',
                pipeline=street,
                tasks=dict(depth=depth, normals=normals),
            ),
            dict(vkitti, split_file=lists + 'vkitti_semantic_train.txt', pipeline=street, tasks=dict(semseg=semseg)),
            dict(
                vkitti,
                split_file=lists + 'vkitti_optical_flow_train.txt',
                pipeline=street_flow,
                tasks=dict(optical_flow=optical_flow),
            ),
            dict(flying, pipeline=[jitter, *things], tasks=dict(optical_flow=optical_flow)),
            dict(
                vkitti,
                split_file=lists + 'vkitti_scene_flow_train.txt',
                pipeline=street,
                tasks=dict(scene_flow=scene_flow),
            ),
            dict(flying, pipeline=things, tasks=dict(scene_flow=scene_flow)),
        ],
    ),
)

benchmarks = dict(
    cityscapes=dict(tasks=dict(semseg=semseg)),
    diode=dict(
        tasks=dict(
            depth=dict(
                depth or {}, metric=dict(type='DepthError', min_depth=0.6, max_depth=350.0, protocol='upstream')
            ),
            normals=normals,
        )
    ),
    kitti=dict(
        tasks=dict(
            depth=dict(depth or {}, metric=dict(type='DepthError', min_depth=1e-5, max_depth=80.0, protocol='upstream'))
        )
    ),
    kitti2015=dict(tasks=dict(optical_flow=optical_flow, scene_flow=scene_flow)),
    mid=dict(tasks=dict(albedo=albedo, shading=shading)),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='ExactSampler'),
    dataset=dict(
        type='MixedDataset',
        datasets=[
            dict(
                type='Cityscapes',
                data_root=cityscapes_root,
                split='val',
                upstream=published,
                test_mode=True,
                tasks=benchmarks['cityscapes']['tasks'],
                pipeline=[
                    dict(type='PrefixSampleId', name='cityscapes'),
                    dict(type='ResampleNearest', size=(512, 1024)),
                    dict(type='ResampleNearest', size=(256, 512)),
                    dict(type='PackMTLInputs'),
                ],
            ),
            dict(
                type='DIODE',
                data_root=diode_root,
                split='val',
                test_mode=True,
                tasks=benchmarks['diode']['tasks'],
                pipeline=[
                    dict(type='PrefixSampleId', name='diode'),
                    dict(type='ResampleNearest', size=(384, 512)),
                    dict(type='PackMTLInputs'),
                ],
            ),
            dict(
                type='KITTIDepth',
                data_root=kitti_root,
                split_file=lists + 'eigen_test_files_with_gt.txt',
                split='test',
                upstream=published,
                test_mode=True,
                tasks=benchmarks['kitti']['tasks'],
                pipeline=[
                    dict(type='PrefixSampleId', name='kitti'),
                    dict(type='ResampleNearest', size=(176, 608)),
                    dict(type='PackMTLInputs'),
                ],
            ),
            dict(
                type='KITTI2015',
                data_root=kitti2015_root,
                frames=frames,
                upstream=published,
                test_mode=True,
                tasks=benchmarks['kitti2015']['tasks'],
                pipeline=[
                    dict(type='PrefixSampleId', name='kitti2015'),
                    dict(type='ResampleNearest', size=(176, 608)),
                    dict(type='PackMTLInputs'),
                ],
            ),
            dict(
                type='MIDIntrinsics',
                data_root=mid_root,
                test_mode=True,
                tasks=benchmarks['mid']['tasks'],
                pipeline=[
                    dict(type='PrefixSampleId', name='mid'),
                    dict(type='ResampleNearest', size=(256, 384)),
                    dict(type='PackMTLInputs'),
                ],
            ),
        ],
    ),
)
# single-task networks (Lotus-D) in the paper's main table; its columns of DIODE's depth and MID's shading are not known
test_evaluator = dict(
    type='BenchmarkMetric',
    benchmarks=benchmarks,
    reference={
        'cityscapes/semseg/mIoU': 0.4817,
        'diode/normals/mErr_upstream': 22.27,
        'kitti/depth/relErr_upstream': 0.1421,
        'kitti2015/optical_flow/EPE_upstream': 10.36,
        'kitti2015/scene_flow/EPE_upstream': 0.2735,
        'mid/albedo/RMSE_upstream': 0.2551,
    },
)
val_dataloader, val_evaluator = test_dataloader, test_evaluator

# photographs and videos at their own aspect ratio, about as large as the images of the training
infer_pipeline = [dict(type='Resize', size=(384, 640), keep_ratio=True, multiple=8), dict(type='PackMTLInputs')]
