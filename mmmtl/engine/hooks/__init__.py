"""Hooks: random state, checkpoints that survive a crash, and losses that stop being numbers."""

from mmmtl.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from mmmtl.engine.hooks.nonfinite_loss_hook import NonFiniteLossError, NonFiniteLossHook
from mmmtl.engine.hooks.random_state_hook import RandomStateHook

__all__ = ['AtomicCheckpointHook', 'NonFiniteLossError', 'NonFiniteLossHook', 'RandomStateHook']
