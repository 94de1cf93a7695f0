"""A short schedule for small networks from scratch on a CPU: AdamW, warm-up, then polynomial decay."""

max_iters = 800
warmup = max_iters // 20  # iterations; a run of fewer than 20 begins at the full rate
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=10, norm_type=2),
)
decay_from = warmup + 1 if warmup else 0
decay = dict(type='PolyLR', power=0.9, eta_min=1e-6, begin=decay_from, end=max_iters, by_epoch=False)
rise = dict(type='LinearLR', start_factor=0.01, begin=0, end=warmup + 1, by_epoch=False)
param_scheduler = [rise, decay] if warmup else [decay]
