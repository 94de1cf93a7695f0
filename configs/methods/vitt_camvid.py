"""Every method of the toolbox on CamVid's photographs, small and from scratch: one backbone, schedule and data.

method=plain|xtc|jtr|mtinet|atrc|invpt|taskprompter|mlore|tsp|demt|mqtransformer|taskexpert|diffusionmtl|
diffusionmtl_prediction|taskdiffusion; label_setting=onelabel|random|full.
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/camvid.py',
    '../_base_/schedules/small.py',
    '../_base_/models/small_methods.py',
]

method = 'plain'
crop_size = (192, 256)
test_pipeline = [dict(type='CentredPad', multiple=64), dict(type='PackMTLInputs')]

chosen = _base_.networks[method]
needs_tasks = chosen['backbone']['type'] in ('PromptedViT', 'TaskPromptViT')
conditions = dict(
    type='MLoREConditions', grid=[side // 8 for side in crop_size], ranks=[4, 8, 12, 16], own_rank=8, topk=2
)

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        chosen['backbone'], img_size=crop_size, **_base_.vit, **(dict(tasks=_base_.tasks) if needs_tasks else {})
    ),
    neck=chosen.get('neck'),
    decoder=dict(chosen['decoder'], **(dict(conditions=conditions) if method == 'mlore' else {})),
)
