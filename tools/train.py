"""Train a model: the same as ``mmmtl train``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('train')
