"""TaskExpert (ICCV 2023): experts gated per task and sample, with a memory per task. A reconstruction."""

from .decoder import TaskExpertDecoder

__all__ = ['TaskExpertDecoder']
