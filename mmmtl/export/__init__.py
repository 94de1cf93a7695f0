"""Files that other programs run: ``torch.export``, ONNX, OpenVINO."""

from .api import Export, export_model
from .exported_model import ExportedModel

__all__ = ['Export', 'ExportedModel', 'export_model']
