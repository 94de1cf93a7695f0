"""ATRC, HRNet-W18-small, NYUDv2 with the released genotype (5.06 M).

Other genotypes: one row per target task, a digit per source (0 none, 1 global, 2 local, 3 T-label, 4 S-label). Regions of
normals are 40 directions spread over the sphere; the program's are cluster centres of its training labels:
model.decoder.regions.normals="dict(type='DirectionRegions', centroids=[...])".
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/nyud.py',
    '../_base_/schedules/atrc.py',
    '../_base_/models/hrnet.py',
]

crop_size = (425, 560)
batch_size = 8
tasks = dict(boundary=dict(positive_weight=0.8))

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=_base_.hrnet,
    decoder=dict(type='ATRCDecoder', genotypes=dict(semseg='3344', depth='4344', normals='4334', boundary='3313')),
)

sync_bn = 'torch'
