"""Entry points: read and check configs, build networks, train, test, predict on images."""

from .check import check_config
from .checkpoint import CheckpointError, load_checkpoint
from .command import run_command
from .config import load_config
from .inferencer import Inferencer, Result
from .inputs import InputError
from .model import build_model, init_model
from .modules import register_all_modules
from .test import test
from .train import train

__all__ = [
    'CheckpointError', 'Inferencer', 'InputError', 'Result', 'build_model', 'check_config', 'init_model',
    'load_checkpoint', 'load_config',
    'register_all_modules', 'run_command', 'test', 'train',
]  # fmt: skip
