"""DiffusionMTL's schedule on PASCAL-Context: 100 epochs of 833 batches, Adam, polynomial decay per epoch, clipping."""

train_cfg = dict(type='ResumableTrainLoop', max_iters=83300, val_interval=8330)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-5, weight_decay=1e-6),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [dict(type='EpochPolyLR', epochs=100, epoch_length=833, power=0.9, by_epoch=False)]
