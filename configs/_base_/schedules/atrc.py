"""ATRC's schedule, also DeMT's and MQTransformer's: 40,000 iterations of SGD with momentum, polynomial decay."""

max_iters = 40000
total_batch = 8  # over all processes
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=max_iters // 10 or 1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=total_batch)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0.0, begin=0, end=max_iters, by_epoch=False)]
