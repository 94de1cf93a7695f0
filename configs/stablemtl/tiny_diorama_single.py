"""StableMTL-S at a size that trains from scratch on two CPU cores in minutes: seven tasks on Diorama."""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/diorama_video.py', '../_base_/models/latent_tiny.py']

max_iters = 2100
model = dict(tasks=_base_.tasks)
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3), clip_grad=dict(max_norm=5.0, norm_type=2)
)
param_scheduler = [dict(type='WarmupExponentialLR', decay_end=max_iters, final=0.02, warmup=100, by_epoch=False)]
model_wrapper_cfg = dict(type='MMDistributedDataParallel', find_unused_parameters=True)
custom_hooks = [dict(type='RandomStateHook'), dict(type='AccumulationHook'), dict(type='NonFiniteLossHook')]
