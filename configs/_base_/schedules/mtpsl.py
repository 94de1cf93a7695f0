"""MTPSL's schedule on NYUDv2: 200 epochs of 397 batches, Adam, halved after half of them; the pairs' own scales faster.

The published program halves the rate of those scales every 30 epochs; here they follow the others.
"""

max_iters = 79400
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=max_iters // 10 or 1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4),
    paramwise_cfg=dict(custom_keys={'.gamma': dict(lr_mult=10), '.beta': dict(lr_mult=10)}),
)
param_scheduler = [dict(type='StepLR', step_size=max_iters // 2 or 1, gamma=0.5, by_epoch=False)]
