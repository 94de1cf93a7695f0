"""MTI-Net, HRNet-W18-small, PASCAL-Context (24.49 M), with its own losses; no weights are public.

Its program rotates and squeezes images to 512x512; here they are scaled, cropped and padded as in the other recipes.
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/pascal.py',
    '../_base_/schedules/mtinet.py',
    '../_base_/models/hrnet.py',
]

bn_momentum = 0.01
batch_size = 8
tasks = dict(
    saliency=dict(out_channels=1, loss=dict(type='ThresholdedBinaryCrossEntropy')),
    normals=dict(loss=dict(type='MaskedL1', normalize=True, average='elements')),
    boundary=dict(loss=dict(type='ThresholdedBinaryCrossEntropy', positive_weight=0.95)),
)

model = dict(type='MultiTaskModel', tasks=_base_.tasks, backbone=_base_.hrnet, decoder=dict(type='MTINetDecoder'))

sync_bn = 'torch'
