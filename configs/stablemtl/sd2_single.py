"""StableMTL-S, stage 1: one UNet, from Stable Diffusion 2, on Hypersim, VKITTI2 and FlyingThings3D."""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/stablemtl.py',
    '../_base_/models/sd2.py',
    '../_base_/schedules/stablemtl.py',
]

model = dict(tasks=_base_.tasks, checkpointing=True)
# an update is of one task
train_dataloader = dict(batch_sampler=dict(accumulation=_base_.accumulation) if _base_.cycle_tasks else None)
custom_hooks = [dict(type='RandomStateHook'), dict(type='AccumulationHook'), dict(type='NonFiniteLossHook')]
