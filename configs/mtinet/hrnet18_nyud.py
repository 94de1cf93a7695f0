"""MTI-Net, HRNet-W18-small, NYUDv2: semseg and depth with all four as auxiliary tasks (14.84 M).

only_tasks=['semseg','depth'] is the published variant without (8.58 M). No weights are public. Its program scales by 1, 1.2
or 1.5 and squeezes images to 480x640; here they are scaled, cropped and padded as in the other recipes.
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/nyud.py',
    '../_base_/schedules/mtinet.py',
    '../_base_/models/hrnet.py',
]

bn_momentum = 0.01
batch_size = 8
tasks = dict(
    normals=dict(loss=dict(type='MaskedL1', normalize=True, average='elements')),
    boundary=dict(loss=dict(type='ThresholdedBinaryCrossEntropy', positive_weight=0.95)),
)
crop_size = (480, 640)
order = ('semseg', 'normals', 'boundary', 'depth')  # the published program's, which its feature propagation depends on

model = dict(
    type='MultiTaskModel',
    tasks={name: _base_.tasks[name] for name in order if _base_.tasks.get(name)},
    backbone=_base_.hrnet,
    decoder=dict(type='MTINetDecoder', final=['semseg', 'depth']),
)

sync_bn = 'torch'
