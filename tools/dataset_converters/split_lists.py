"""List files of a data set: the same as ``mmmtl split-lists``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('split-lists')
