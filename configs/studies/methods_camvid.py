"""All methods on CamVid: all decoders of the toolbox on one backbone, schedule and data.

CamVid's 240x180 pixel version lies in ``data/camvid``.
"""

config = '../methods/vitt_camvid.py'

study = dict(
    title='All methods on CamVid',
    about='Segmentation (11 classes) and the boundaries between the classes, both for each of the 367 training photographs; '
    'metrics on the 233 test photographs. One small ViT from scratch, 192x256 pixels, AdamW, 240 iterations of 4 images for '
    'every network, the single-task networks included.',
    reference='single-task',
    seeds=[0, 1],
    costs=True,
    options={
        'max_iters': 240,
        'train_dataloader.batch_size': 4,
        'default_hooks.checkpoint.interval': 80,
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
