"""Does task attention help? StableMTL's second stage against as many more iterations of its first, on Diorama.

The first stage is trained once, before: ``python tools/train.py configs/stablemtl/tiny_diorama_single.py``.
"""

first_stage = 'work_dirs/stablemtl/tiny_diorama_single/iter_2100.pth'

study = dict(
    title='StableMTL: task attention against a longer first stage',
    about='Seven tasks of generated pairs of frames, 64x64 pixels. Both rows begin with the network that the first stage '
    'trained in 2100 iterations, and train 700 more with the same schedule: one stream alone, or a main stream that looks '
    'at the frozen first one.',
    reference='one stream',
    seeds=[0, 1, 2],
    rows={
        'one stream': dict(
            config='../stablemtl/tiny_diorama_single.py',
            options={
                'load_from': first_stage,
                'max_iters': 700,
                'optim_wrapper.optimizer.lr': 5e-4,
                'param_scheduler.0.warmup': 50,
            },
        ),
        'two streams': dict(config='../stablemtl/tiny_diorama_multistream.py'),
    },
)
