"""StableMTL at the same size: a main stream that looks at the frozen stream of ``tiny_diorama_single.py``."""

_base_ = ['tiny_diorama_single.py']

max_iters = 700
model = dict(
    single_stream='work_dirs/stablemtl/tiny_diorama_single/iter_2100.pth',
    task_attention=dict(heads=4, query_width=96, task_mask_prob=0.4),
)
optim_wrapper = dict(optimizer=dict(lr=5e-4))
param_scheduler = [dict(type='WarmupExponentialLR', decay_end=max_iters, final=0.02, warmup=50, by_epoch=False)]
