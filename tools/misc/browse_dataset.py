"""Draw what the network is shown: the same as ``mmmtl browse``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('browse')
