"""The registry of networks: name -> class and its default configurations. Models never import it."""

from training.models.baselines import (
    SRCNN,
    SRCNN_X2,
    SRCNN_X3,
    SRCNN_X4,
    URDGN,
    URDGN_X8,
    VDSR,
    VDSR_X2,
    VDSR_X3,
    VDSR_X4,
)
from training.models.fan import FAN, FAN_64, FAN_256
from training.models.fsrnet import (
    FSRNET,
    FSRNET_68,
    FSRNET_BASELINE_V1,
    FSRNET_BASELINE_V2,
    FSRNET_CELEBA,
    FSRNET_H1,
    FSRNET_H4,
    FSRNet,
)
from training.models.jasrnet import (
    JASRNET,
    JASRNET_64PX,
    JASRNET_AFLW,
    JASRNET_HELEN,
    JASRNET_ONE_STAGE,
    JASRNET_T16,
    JASRNET_TWO_STAGES,
    JASRNet,
)
from training.models.mtun import MTUN, MTUN_1, MTUN_2, MTUN_3, MTUN_4, MTUN_NO_SKIP, MTUN_SLIM
from training.models.picoface import PICOFACE_X4, PICOFACE_X8, PicoFace, PicoFaceConfig
from training.models.picospot import PicoSpot
from training.models.srinc import SRINC, SRINC_F_X2, SRINC_F_X3, SRINC_F_X4, SRINC_X2, SRINC_X3, SRINC_X4
from training.models.srresnet import SRRESNET_X4, SRRESNET_X8, SRResNet
from training.models.super_fan import (
    SUPER_FAN,
    SUPER_FAN_64,
    SUPER_FAN_GENERATOR,
    SUPER_FAN_GENERATOR_SHUFFLE,
    SUPER_FAN_GENERATOR_X8,
    SUPER_FAN_X8,
    Generator,
    SuperFAN,
)

MODELS = {
    "picoface": PicoFace,
    "picospot": PicoSpot,
    "srinc": SRINC,
    "super_fan": SuperFAN,
    "super_fan_generator": Generator,
    "fan": FAN,
    "srresnet": SRResNet,
    "srcnn": SRCNN,
    "vdsr": VDSR,
    "urdgn": URDGN,
    "jasrnet": JASRNet,
    "fsrnet": FSRNet,
    "mtun": MTUN,
}
CONFIGS = {
    "picoface_x8": PICOFACE_X8,
    "picoface_x4": PICOFACE_X4,
    "srinc_x2": SRINC_X2,
    "srinc_x3": SRINC_X3,
    "srinc_x4": SRINC_X4,
    "srinc_f_x2": SRINC_F_X2,
    "srinc_f_x3": SRINC_F_X3,
    "srinc_f_x4": SRINC_F_X4,
    "super_fan": SUPER_FAN,
    "super_fan_64": SUPER_FAN_64,
    "super_fan_x8": SUPER_FAN_X8,
    "super_fan_generator": SUPER_FAN_GENERATOR,
    "super_fan_generator_x8": SUPER_FAN_GENERATOR_X8,
    "super_fan_generator_shuffle": SUPER_FAN_GENERATOR_SHUFFLE,
    "fan": FAN_256,
    "fan_64": FAN_64,
    "srresnet_x4": SRRESNET_X4,
    "srresnet_x8": SRRESNET_X8,
    "srcnn_x2": SRCNN_X2,
    "srcnn_x3": SRCNN_X3,
    "srcnn_x4": SRCNN_X4,
    "vdsr_x2": VDSR_X2,
    "vdsr_x3": VDSR_X3,
    "vdsr_x4": VDSR_X4,
    "urdgn": URDGN_X8,
    "jasrnet": JASRNET,
    "jasrnet_64px": JASRNET_64PX,
    "jasrnet_aflw": JASRNET_AFLW,
    "jasrnet_helen": JASRNET_HELEN,
    "jasrnet_one_stage": JASRNET_ONE_STAGE,
    "jasrnet_t16": JASRNET_T16,
    "jasrnet_two_stages": JASRNET_TWO_STAGES,
    "fsrnet": FSRNET,
    "fsrnet_68": FSRNET_68,
    "fsrnet_baseline_v1": FSRNET_BASELINE_V1,
    "fsrnet_baseline_v2": FSRNET_BASELINE_V2,
    "fsrnet_celeba": FSRNET_CELEBA,
    "fsrnet_h1": FSRNET_H1,
    "fsrnet_h4": FSRNET_H4,
    "mtun": MTUN_4,
    "mtun_1": MTUN_1,
    "mtun_2": MTUN_2,
    "mtun_3": MTUN_3,
    "mtun_no_skip": MTUN_NO_SKIP,
    "mtun_slim": MTUN_SLIM,
}

__all__ = ["CONFIGS", "MODELS", "PicoFace", "PicoFaceConfig"]
