"""Six tasks of Diorama, one label per image: the DiffusionMTL paper's comparison, small and from scratch."""

study = dict(
    title='Diorama, one label per image',
    about='Generated scenes of 64x64 pixels; each of the 3000 training scenes has the label of one of six tasks '
    '(500 each), the 120 test scenes have all. A small ResNet-18 from scratch, AdamW, 400 iterations of 8 images for '
    'every network, the single-task networks included, which see the scenes with their label alone.',
    remarks='Sharing one network costs here: a single-task network sees eight labels of its task in every iteration, a '
    'shared one eight labels of all six tasks. Cross-task consistency differs from the multi-task baseline by less than '
    'the deviations.\n\n'
    'Diffusion does not help at this length of training. Its shared features are not the reason: the initial maps of the '
    "same networks, before any noise, are about as good as the baseline's with a third of its blocks (feature / prediction: "
    'semseg mIoU 0.490 / 0.471, human parts 0.370 / 0.366, saliency 0.716 / 0.714, normals 25.9 / 26.0, boundary 0.195 / '
    '0.192, depth RMSE 0.643 / 0.644, means over the seeds). What the denoiser makes of them is worse: it starts from '
    'nothing, learns from labelled pairs alone, and in 400 iterations has not learned to take the noise out again, least of all '
    'for fine structures, since its attention works on a grid four times coarser. The paper trains for 83,300 iterations from '
    'ImageNet weights; what happens then cannot be read off this table.',
    reference='single-task',
    seeds=[0, 1, 2],
    label_sampler=dict(type='OneLabel', seed=0),
    options={
        'max_iters': 400,
        'size': (64, 64),
        'train_dataloader.dataset.length': 3000,
        'train_dataloader.dataset.cache_dir': 'work_dirs/studies/diorama_scenes',
        'default_hooks.checkpoint.interval': 100,
        'default_hooks.checkpoint.max_keep_ckpts': 1,
    },
    rows={
        'single-task': dict(config='../baselines/r18_diorama.py', per_task=True),
        'multi-task baseline': dict(config='../baselines/r18_diorama.py'),
        'XTC': dict(config='../baselines/r18_diorama_xtc.py'),
        'DiffusionMTL, prediction': dict(config='../diffusionmtl/r18_diorama.py', options=dict(mode='prediction')),
        'DiffusionMTL, feature': dict(config='../diffusionmtl/r18_diorama.py'),
    },
)
