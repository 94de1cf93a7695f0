"""Entry points: build networks, train, test, predict on images."""

from mmmtl.inference import Result
from mmmtl.utils.command import run_command

from .checkpoint import load_checkpoint
from .infer_files import infer_files
from .inferencer import Inferencer
from .model import build_model, init_model
from .publish import publish_model
from .test import test
from .train import train

__all__ = [
    'Inferencer',
    'Result',
    'build_model',
    'infer_files',
    'init_model',
    'load_checkpoint',
    'publish_model',
    'run_command',
    'test',
    'train',
]
