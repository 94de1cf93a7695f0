"""A short schedule for small networks from scratch on a CPU: AdamW, warm-up, then polynomial decay."""

max_iters = 800
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=10, norm_type=2),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, begin=0, end=max_iters // 20 + 1, by_epoch=False),
    dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=max_iters // 20 + 1, end=max_iters, by_epoch=False),
]
