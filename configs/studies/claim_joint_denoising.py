"""Does denoising all tasks jointly help? TaskDiffusion against its own baseline with as many parameters, on Diorama."""

config = '../methods/vitt_diorama.py'

study = dict(
    title='TaskDiffusion against its baseline, long schedule',
    about='Generated scenes of 64x64 pixels with the labels of all six tasks, 3000 for training and 120 for the metrics. One '
    'small ViT from scratch, AdamW, 3000 iterations of 8 images: seven times those of the comparison of all methods. The '
    'baseline is made wider until it has as many parameters as TaskDiffusion (4.47 against 4.44 million).',
    reference='baseline, as many parameters',
    seeds=[0, 1, 2],
    costs=True,
    options={
        'max_iters': 3000,
        'size': (64, 64),
        'train_dataloader.dataset.length': 3000,
        'train_dataloader.dataset.cache_dir': 'work_dirs/studies/diorama_scenes',
        'default_hooks.checkpoint.interval': 300,
        'default_hooks.checkpoint.max_keep_ckpts': 1,
    },
    rows={
        'baseline, as many parameters': dict(config=config, options={'method': 'plain', 'model.decoder.channels': 124}),
        'TaskDiffusion': dict(config=config, options=dict(method='taskdiffusion')),
    },
)
