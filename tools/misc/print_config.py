"""Print a config as a whole, or every value with its source: the same as ``mmmtl show``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('show')
