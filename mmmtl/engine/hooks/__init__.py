"""Hooks: random state, schedules, checkpoints that survive a crash, losses that stop being numbers, panels, predictions."""

from mmmtl.engine.hooks.accumulation_hook import AccumulationHook
from mmmtl.engine.hooks.checkpoint_hook import AtomicCheckpointHook
from mmmtl.engine.hooks.interrupt_hook import Interrupted, InterruptHook, catch_signals
from mmmtl.engine.hooks.label_values_hook import LabelValuesHook
from mmmtl.engine.hooks.nonfinite_loss_hook import NonFiniteLossError, NonFiniteLossHook
from mmmtl.engine.hooks.panel_hook import PanelHook
from mmmtl.engine.hooks.prediction_hook import PredictionHook
from mmmtl.engine.hooks.random_state_hook import RandomStateHook
from mmmtl.engine.hooks.schedule_hook import ScheduleHook
from mmmtl.engine.hooks.times_hook import TimesHook
from mmmtl.engine.hooks.watch_hook import WatchHook

__all__ = [
    'AccumulationHook',
    'AtomicCheckpointHook',
    'InterruptHook',
    'Interrupted',
    'LabelValuesHook',
    'NonFiniteLossError',
    'NonFiniteLossHook',
    'PanelHook',
    'PredictionHook',
    'RandomStateHook',
    'ScheduleHook',
    'TimesHook',
    'WatchHook',
    'catch_signals',
]
