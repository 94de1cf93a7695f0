"""MTI-Net's schedule: 100 epochs of Adam, polynomial decay per epoch, no clipping."""

epochs = 100
max_iters = None  # instead of the epochs
total_batch = 8  # over all processes
train_cfg = dict(
    type='ResumableTrainLoop', max_epochs=epochs, max_iters=max_iters, val_interval=(max_iters or epochs) // 10 or 1
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=total_batch)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, weight_decay=1e-4))
param_scheduler = [dict(type='EpochPolyLR', epochs=epochs, power=0.9, by_epoch=False)]
