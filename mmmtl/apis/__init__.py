"""Entry points: read and check configs, build networks, train, test, predict on images."""

from .browse import browse_dataset
from .check import check_config
from .checkpoint import CheckpointError, load_checkpoint
from .command import run_command
from .complexity import count_complexity
from .config import load_config
from .inferencer import Inferencer, Result
from .inputs import InputError
from .logs import plot_logs, read_log, summarize_log
from .model import build_model, init_model
from .modules import register_all_modules
from .provenance import config_with_sources
from .publish import publish_model
from .report import make_report
from .tables import format_table
from .test import test
from .train import train

__all__ = [
    'CheckpointError',
    'Inferencer',
    'InputError',
    'Result',
    'browse_dataset',
    'build_model',
    'check_config',
    'config_with_sources',
    'count_complexity',
    'format_table',
    'init_model',
    'load_checkpoint',
    'load_config',
    'make_report',
    'plot_logs',
    'publish_model',
    'read_log',
    'register_all_modules',
    'run_command',
    'summarize_log',
    'test',
    'train',
]
