"""DiffusionMTL, ResNet-18, Cityscapes (7 classes).

Options: mode=feature or prediction, backbone=resnet18 or resnet50, label_setting=onelabel, random or full.
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/schedules/diffusionmtl.py',
    '../_base_/references/cityscapes_r18_one.py',
]

mode = 'feature'
backbone = 'resnet18'
label_setting = 'onelabel'
total_batch = 8
epochs = 200

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(type='TimmBackbone', model_name=backbone, pretrained=True),
    neck=dict(type='ConcatFusion', channels=512, stride=8),
    decoder=dict(type='DiffusionMTLDecoder', mode=mode),
)

sync_bn = 'torch'
optim_wrapper = dict(optimizer=dict(lr=1e-4))
# the paper's single-task networks are ResNet-18 with one label per image
is_of_paper = backbone == 'resnet18' and label_setting == 'onelabel' and not _base_.label_map
test_evaluator = dict(reference=_base_.single_task_reference if is_of_paper else None)
