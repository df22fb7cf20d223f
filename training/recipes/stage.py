"""What a recipe of a paper consists of. Marks in the recipes as in PAPERS: P paper, C its code, D our choice."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class LossWeights:
    """Factors of the terms of a stage's loss; a term of weight 0 is not computed."""

    pixel: float = 1.0
    coarse: float = 0.0  # FSRNet's coarse picture
    heatmap: float = 0.0
    features: float = 0.0  # perceptual loss
    adversarial: float = 0.0


@dataclass(frozen=True)
class Stage:
    """One optimisation from start to end. `epochs` is the unit of its schedule: other lengths scale all of it."""

    name: str
    epochs: float
    lr: float
    weights: LossWeights = LossWeights()
    learns: tuple[str, ...] = ()  # parts of the network; none named: all of it
    schedule: str = "steps"  # of lr: "steps", "cosine" or "decay"; see training.schedule
    lr_drops: tuple[float, ...] = ()  # "steps": epochs at which lr is multiplied by lr_factor
    lr_factor: float = 1.0  # "decay": of every epoch
    lr_end: float = 0.0  # "cosine": the last; "decay": never below
    lr_shares: tuple[tuple[str, float], ...] = ()  # (parameters whose names begin so, their share of lr)
    warmup: tuple[tuple[int, float], ...] = ()  # (updates, share of lr) one after the other
    pixel_loss: str = "mean_square"  # of training.losses_pixel
    heatmap_loss: str = ""  # of training.objectives
    critic: str = ""  # of training.objectives; it updates once before each update of the network
    adversarial_decay: float = 1.0  # of the adversarial weight, every epoch
    adversarial_floor: float = 0.0
    features: str = ""  # network of the perceptual loss: training.losses_perceptual
    own_features: str = ""  # part of the network as it enters the stage that stands in for it without a file


@dataclass(frozen=True)
class PaperRecipe:
    """How a paper trains its network."""

    name: str
    model: str  # of training.models.MODELS
    config: Any  # its configuration
    pipeline: str  # of training.data.pipelines
    stages: tuple[Stage, ...]
    batch: int
    packs: tuple[str, ...]  # archives, D: the papers' data sets are not all to be had
    optimiser: str = "adam"  # "adam", "rmsprop" or "sgd"
    betas: tuple[float, float] = (0.9, 0.999)  # adam
    smoothing: float = 0.99  # rmsprop: of the mean square; 0.99 is Torch's
    momentum: float = 0.0  # sgd
    weight_decay: float = 0.0
    clip: str = ""  # of gradients: "norm", "value" (each number), "adjustable" (each number, by clip_at / lr)
    clip_at: float = 0.0
    ema: float = 0.0  # of the weights; 0: none, the last ones are used
    heatmap_sigma_px: float = 4.0  # of the truth's pixels
    patch_filter: str = "drop_smooth"  # patches above SRINC's PSNR; "drop_sharp": below, as printed; "none"
    options: dict[str, float] = field(default_factory=dict)  # numbers of one loss alone


HELEN = "faces68_helen_nc"
FREE = "faces_clean_ccby_pd"
FACES = (HELEN, FREE)
