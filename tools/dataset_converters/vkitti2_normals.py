"""Surface normals of Virtual KITTI 2: the same as ``mmmtl prepare-vkitti2``."""

from mmmtl.commands import run_tool

if __name__ == '__main__':
    run_tool('prepare-vkitti2')
