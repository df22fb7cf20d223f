"""MTUN's spatial transformers: they turn, scale and shift a tilted face upright, section 3.1 of the paper.

The authors' file that defines them is missing from their repository. Open points and what is done here:

* The printed list ends in FC 80→20, but on 64 × 64 maps it leaves 20·5·5 = 500 numbers. `localiser="printed"` is the
  list with FC 500→20; "fc80" keeps the 80, on maps halved once more and without the last pooling.
* Four numbers come out, rotation θ, scale s and the shifts ty and tx, of source = s·R(θ)·target + t, in coordinates
  where -1 and 1 are the centres of the outer pixels: θ > 0 turns what is seen anticlockwise. Beyond the map
  there is 0.
* The last layer starts at θ = 0, s = 1, t = 0 with weights 0: training starts from the identity. (The authors' sister
  files start at θ = 1 rad, a slip.)

The grid is built by multiplications and additions and not by `affine_grid`, so that exported files hold no AffineGrid.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HIDDEN = 20  # channels and width of the localisation network


class SimilaritySampler(nn.Module):
    """x [N,C,S,S] and motion [N,4] (θ in rad, s, ty, tx) -> [N,C,S,S], bilinear, 0 outside."""

    def __init__(self, size: int) -> None:
        super().__init__()
        axis = torch.linspace(-1.0, 1.0, size)
        self.register_buffer("x", axis.repeat(size, 1)[None], persistent=False)  # [1,S,S]
        self.register_buffer("y", axis.repeat(size, 1).T.contiguous()[None], persistent=False)

    def forward(self, x: Tensor, motion: Tensor) -> Tensor:
        angle, scale, shift_y, shift_x = (motion[:, i, None, None] for i in range(4))  # each [N,1,1]
        cosine, sine = scale * torch.cos(angle), scale * torch.sin(angle)
        column = cosine * self.x - sine * self.y + shift_x  # [N,S,S]
        row = sine * self.x + cosine * self.y + shift_y
        grid = torch.stack([column, row], dim=3)
        return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=True)


def _head(inputs: int) -> nn.Sequential:
    """FC → 20, ReLU, FC → 4, starting at the identity's motion."""
    last = nn.Linear(HIDDEN, 4)
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, HIDDEN), nn.ReLU(), last)


class SpatialTransformer(nn.Module):
    """Features of a tilted face [N,C,64,64] -> of the upright face, same shape."""

    SIZE = 64

    def __init__(self, channels: int, *, localiser: str = "printed") -> None:
        super().__init__()
        pool = nn.MaxPool2d(2)
        first = [pool, nn.Conv2d(channels, HIDDEN, 5), nn.ReLU()]
        second = [pool, nn.Conv2d(HIDDEN, HIDDEN, 5), nn.ReLU()]
        layers = [*first, *second, pool, _head(500)] if localiser == "printed" else [pool, *first, *second, _head(80)]
        self.localise = nn.Sequential(*layers)
        self.sample = SimilaritySampler(self.SIZE)

    def forward(self, x: Tensor) -> Tensor:
        return self.sample(x, self.localise(x))


class InputAligner(nn.Module):
    """STN0: turns a 16-px picture upright, [N,3,16,16] -> same; the paper's help for the methods it compares with."""

    SIZE = 16

    def __init__(self) -> None:
        super().__init__()
        self.localise = nn.Sequential(
            nn.Conv2d(3, 64, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(64, HIDDEN, 5), nn.ReLU(), _head(80)
        )
        self.sample = SimilaritySampler(self.SIZE)

    def forward(self, lr: Tensor) -> Tensor:
        return self.sample(lr, self.localise(lr))
