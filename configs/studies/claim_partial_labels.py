"""Does diffusion help where an image has one label? DiffusionMTL against the multi-task network, long, on Diorama."""

study = dict(
    title='DiffusionMTL with one label per image, long schedule',
    about='Generated scenes of 64x64 pixels; each of the 3000 training scenes has the label of one of six tasks, the 120 '
    'test scenes have all. A small ResNet-18 from scratch, AdamW, 3000 iterations of 8 images: seven times those of the '
    'shorter study.',
    reference='multi-task baseline',
    seeds=[0, 1, 2],
    costs=True,
    label_sampler=dict(type='OneLabel', seed=0),
    options={
        'max_iters': 3000,
        'size': (64, 64),
        'train_dataloader.dataset.length': 3000,
        'train_dataloader.dataset.cache_dir': 'work_dirs/studies/diorama_scenes',
        'default_hooks.checkpoint.interval': 300,
        'default_hooks.checkpoint.max_keep_ckpts': 1,
    },
    rows={
        'multi-task baseline': dict(config='../baselines/r18_diorama.py'),
        'DiffusionMTL, prediction': dict(config='../diffusionmtl/r18_diorama.py', options=dict(mode='prediction')),
        'DiffusionMTL, feature': dict(config='../diffusionmtl/r18_diorama.py'),
    },
)
