"""TaskPrompter (ICLR 2023): task prompts that run through the transformer with the patches, in space and in channels."""

from .backbone import PromptedViT
from .converter import TaskPrompterConverter
from .decoder import TaskPrompterDecoder

__all__ = ['TaskPrompterConverter', 'PromptedViT', 'TaskPrompterDecoder']
