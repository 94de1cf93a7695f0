"""``tiny_diorama_multistream.py`` with sharded parameters, which also runs on CPUs."""

_base_ = ['tiny_diorama_multistream.py']

runner_type = 'FlexibleRunner'
strategy = dict(type='ShardingStrategy')
optim_wrapper = dict(type='ShardedOptimWrapper')
