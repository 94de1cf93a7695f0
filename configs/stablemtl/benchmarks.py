"""StableMTL's eight benchmarks in one run: ``tools/test.py configs/stablemtl/benchmarks.py CHECKPOINT``.

A checkpoint of stage 2; for one of stage 1 add ``--cfg-options model.task_attention=None``. Leave out a set that is not at
hand by removing it from ``test_dataloader.dataset.datasets``: the others are compared, and Δm is the mean over them.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/stablemtl.py', '../_base_/models/sd2.py']

model = dict(
    tasks=_base_.tasks,
    predict_labelled=True,
    task_attention=dict(heads=4, query_width=640, layers='all', task_mask_prob=0.4),
)
test_cfg = dict(type='TestLoop')
