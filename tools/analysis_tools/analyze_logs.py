"""Curves and a summary of runs: the same as ``mmmtl logs``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('logs')
