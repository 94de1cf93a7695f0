"""StableMTL's schedule: Adam, 100 updates of warm-up, exponential decay to 1 % at 25,000 updates, gradient norm 5.

Iterations are batches; ``accumulation`` of them make an update of 32 samples on one GPU (1 on two).
"""

accumulation = 2
updates = 20000
train_cfg = dict(type='ResumableTrainLoop', max_iters=updates * accumulation, val_interval=1000 * accumulation)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4),
    accumulative_counts=accumulation,
    clip_grad=dict(max_norm=5.0, norm_type=2),
)
param_scheduler = [
    dict(
        type='WarmupExponentialLR',
        decay_end=25000 * accumulation,
        final=0.01,
        warmup=100 * accumulation,
        by_epoch=False,
    )
]
# a step trains the parameters of one task
model_wrapper_cfg = dict(type='MMDistributedDataParallel', find_unused_parameters=True)
