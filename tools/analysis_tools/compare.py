"""Two runs side by side: the same as ``mmmtl compare``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('compare')
