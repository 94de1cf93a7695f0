"""Six tasks of Diorama, one label per image: the DiffusionMTL paper's comparison, small and from scratch."""

study = dict(
    title='Diorama, one label per image',
    about='Generated scenes of 64x64 pixels; each of the 3000 training scenes has the label of one of six tasks '
    '(500 each), the 120 test scenes have all. A small ResNet-18 from scratch, AdamW, 400 iterations of 8 images for '
    'every network, the single-task networks included, which see the scenes with their label alone.',
    reference='single-task',
    seeds=[0, 1, 2],
    label_sampler=dict(type='OneLabel', seed=0),
    options={'max_iters': 400, 'size': (64, 64), 'train_dataloader.dataset.length': 3000,
             'train_dataloader.dataset.cache_dir': 'work_dirs/studies/diorama_scenes',
             'default_hooks.checkpoint.interval': 100, 'default_hooks.checkpoint.max_keep_ckpts': 1},
    rows={
        'single-task': dict(config='../baselines/r18_diorama.py', per_task=True),
        'multi-task baseline': dict(config='../baselines/r18_diorama.py'),
        'XTC': dict(config='../baselines/r18_diorama_xtc.py'),
        'DiffusionMTL, prediction': dict(config='../diffusionmtl/r18_diorama_prediction.py'),
        'DiffusionMTL, feature': dict(config='../diffusionmtl/r18_diorama_feature.py'),
    })  # fmt: skip
