"""Strip a checkpoint to its weights: the same as ``mmmtl publish``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('publish')
