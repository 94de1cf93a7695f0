"""DiffusionMTL's schedule on PASCAL-Context: 100 epochs, Adam, polynomial decay per epoch, clipping.

An epoch has as many iterations as the data set has batches, over all processes.
"""

epochs = 100
max_iters = None  # instead of the epochs
total_batch = 6  # over all processes
train_cfg = dict(
    type='ResumableTrainLoop', max_epochs=epochs, max_iters=max_iters, val_interval=(max_iters or epochs) // 10 or 1
)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(enable=False, base_batch_size=total_batch)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-5, weight_decay=1e-6),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [dict(type='EpochPolyLR', epochs=epochs, power=0.9, by_epoch=False)]
