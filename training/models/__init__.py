"""The registry of networks: name -> class and its default configurations. Models never import it."""

from training.models.picoface import PICOFACE_X4, PICOFACE_X8, PicoFace, PicoFaceConfig

MODELS = {"picoface": PicoFace}
CONFIGS = {"picoface_x8": PICOFACE_X8, "picoface_x4": PICOFACE_X4}

__all__ = ["CONFIGS", "MODELS", "PicoFace", "PicoFaceConfig"]
