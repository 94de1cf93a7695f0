"""Configuration: reading a file with options, checking it before anything is built, showing where a value comes from."""

from .check import check_config
from .load import load_config
from .show import config_with_sources

__all__ = ['check_config', 'config_with_sources', 'load_config']
