"""One photograph, or a frame of a video, on its way through a network: preparation, options of a call, result."""

from .options import PredictOptions
from .predict import predict_batch, predict_video_frames
from .preparation import Preparation
from .result import Result, finish_result
from .tiles import predict_image_in_tiles

__all__ = [
    'PredictOptions',
    'Preparation',
    'Result',
    'finish_result',
    'predict_batch',
    'predict_image_in_tiles',
    'predict_video_frames',
]
