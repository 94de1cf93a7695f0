"""Segmentation and boundaries of CamVid, one label per image, on an ImageNet-pretrained MobileNetV2.

``checkpoints/mobilenet_v2-b0353104.pth`` is torchvision's file. CamVid's 240x180 pixel version lies in ``data/camvid``.
"""

study = dict(
    title='CamVid, one label per image',
    about='Each of the 367 training photographs has either the segmentation (11 classes) or the boundaries between the '
    'classes; metrics on the 233 test photographs. MobileNetV2 pretrained on ImageNet, crops of 160x160 from 240x180 '
    'pixels, AdamW, 240 iterations of 4 images for every network, the single-task networks included, which see the '
    'photographs with their label alone.',
    remarks='As on Diorama, the order is that of the number of labels a task gets in an iteration and of how much has to be '
    'learned anew: single-task networks, then the shared one, then cross-task consistency and diffusion.\n\n'
    "Diffusion does not help at this length of training: the initial maps of the first seed's networks, before any noise, reach "
    'mIoU 0.407 / 0.373 and odsF 0.568 / 0.547 (feature / prediction), the denoised ones 0.394 / 0.333 and 0.436 / 0.443. The '
    'pretrained part is the backbone; the denoiser starts from nothing, and 240 iterations do not teach it to take the noise '
    "out of fine structures. In segmentation Feature Diffusion's initial maps are better than the multi-task baseline.",
    reference='single-task',
    seeds=[0, 1, 2],
    label_sampler=dict(type='OneLabel', seed=0),
    options={
        'max_iters': 240,
        'train_dataloader.batch_size': 4,
        'default_hooks.checkpoint.interval': 80,
        'default_hooks.checkpoint.max_keep_ckpts': 1,
    },
    rows={
        'single-task': dict(config='../baselines/mobilenetv2_camvid.py', per_task=True),
        'multi-task baseline': dict(config='../baselines/mobilenetv2_camvid.py'),
        'XTC': dict(config='../baselines/mobilenetv2_camvid_xtc.py'),
        'DiffusionMTL, prediction': dict(
            config='../diffusionmtl/mobilenetv2_camvid.py', options=dict(mode='prediction')
        ),
        'DiffusionMTL, feature': dict(config='../diffusionmtl/mobilenetv2_camvid.py'),
    },
)
