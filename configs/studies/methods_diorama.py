"""All methods on Diorama: all decoders of the toolbox on one backbone, schedule and data.

methods_diorama_onelabel.py is the same with one label per image.
"""

config = '../methods/vitt_diorama.py'

study = dict(
    title='All methods on Diorama',
    about='Generated scenes of 64x64 pixels with the labels of all six tasks, 3000 for training and 120 for the '
    'metrics. One small ViT from scratch, AdamW, 400 iterations of 8 images for every network, the single-task networks '
    'included.',
    reference='single-task',
    seeds=[0, 1],
    costs=True,
    options={
        'max_iters': 400,
        'size': (64, 64),
        'train_dataloader.dataset.length': 3000,
        'train_dataloader.dataset.cache_dir': 'work_dirs/studies/diorama_scenes',
        'default_hooks.checkpoint.interval': 100,
        'default_hooks.checkpoint.max_keep_ckpts': 1,
    },
    rows={
        'single-task': dict(config=config, per_task=True),
        'multi-task baseline': dict(config=config, options=dict(method='plain')),
        'XTC': dict(config=config, options=dict(method='xtc')),
        'JTR': dict(config=config, options=dict(method='jtr')),
        'MTI-Net': dict(config=config, options=dict(method='mtinet')),
        'ATRC': dict(config=config, options=dict(method='atrc')),
        'InvPT': dict(config=config, options=dict(method='invpt')),
        'TaskPrompter': dict(config=config, options=dict(method='taskprompter')),
        'MLoRE': dict(config=config, options=dict(method='mlore')),
        'TSP-Transformer': dict(config=config, options=dict(method='tsp')),
        'DeMT': dict(config=config, options=dict(method='demt')),
        'MQTransformer': dict(config=config, options=dict(method='mqtransformer')),
        'TaskExpert, reconstruction': dict(config=config, options=dict(method='taskexpert')),
        'DiffusionMTL, prediction': dict(config=config, options=dict(method='diffusionmtl_prediction')),
        'DiffusionMTL, feature': dict(config=config, options=dict(method='diffusionmtl')),
        'TaskDiffusion': dict(config=config, options=dict(method='taskdiffusion')),
    },
)
