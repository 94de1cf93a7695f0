"""What runs a training: samplers, the loop, optimiser wrappers and hooks. mmengine is met at its fixed points."""

from mmmtl.engine.balancing import Balancer, BalancingOptimWrapper
from mmmtl.engine.epoch_poly import EpochPolyLR
from mmmtl.engine.fully_shard import FullyShardStrategy
from mmmtl.engine.hooks import AtomicCheckpointHook, NonFiniteLossError, NonFiniteLossHook, RandomStateHook
from mmmtl.engine.loops import ResumableTrainLoop
from mmmtl.engine.optim_wrappers import AutocastOptimWrapper
from mmmtl.engine.samplers import ExactSampler, ResumableSampler, SampleIndex
from mmmtl.engine.separate_optimizers import SeparateOptimizersConstructor
from mmmtl.engine.sharding import ShardedOptimWrapper, ShardingStrategy
from mmmtl.engine.task_cycle import TaskCycleBatchSampler, TaskIndex
from mmmtl.engine.warmup_exponential import WarmupExponentialLR

__all__ = [
    'AtomicCheckpointHook',
    'AutocastOptimWrapper',
    'Balancer',
    'BalancingOptimWrapper',
    'EpochPolyLR',
    'ExactSampler',
    'FullyShardStrategy',
    'NonFiniteLossError',
    'NonFiniteLossHook',
    'RandomStateHook',
    'ResumableSampler',
    'ResumableTrainLoop',
    'SampleIndex',
    'SeparateOptimizersConstructor',
    'ShardedOptimWrapper',
    'ShardingStrategy',
    'TaskCycleBatchSampler',
    'TaskIndex',
    'WarmupExponentialLR',
]
