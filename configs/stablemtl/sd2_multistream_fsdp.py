"""StableMTL, stage 2, with parameters, gradients and optimiser states sharded over the GPUs (FSDP).

bash tools/dist_train.sh configs/stablemtl/sd2_multistream_fsdp.py 8
"""

_base_ = ['sd2_multistream.py']

runner_type = 'FlexibleRunner'
strategy = dict(type='ShardingStrategy')
optim_wrapper = dict(type='ShardedOptimWrapper')
