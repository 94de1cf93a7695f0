"""StableMTL, stage 2: a main stream that looks at the features of the frozen stream of stage 1."""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/stablemtl.py',
    '../_base_/models/sd2.py',
    '../_base_/schedules/stablemtl.py',
]

updates = 11000
model = dict(
    tasks=_base_.tasks,
    checkpointing=True,
    single_stream='work_dirs/stablemtl/sd2_single/iter_40000.pth',
    task_attention=dict(heads=4, query_width=640, layers='all', task_mask_prob=0.4),
)
# an update is of one task
train_dataloader = dict(batch_sampler=dict(accumulation=_base_.accumulation) if _base_.cycle_tasks else None)
custom_hooks = [dict(type='RandomStateHook'), dict(type='AccumulationHook'), dict(type='NonFiniteLossHook')]
