"""JTR's schedule on NYUDv2: 400 epochs of 199 batches, Adam, halved after half of them."""

max_iters = 79600
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=max_iters // 10 or 1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4))
param_scheduler = [dict(type='StepLR', step_size=max_iters // 2 or 1, gamma=0.5, by_epoch=False)]
