"""JASRNet's tail, and the same map in one step.

Four convolutions and three shuffles with nothing in between are one affine map of the features: a 5×5 convolution to
3·8·8 channels and one shuffle ×8, with 1/16 of the multiply-adds. Where the inner convolutions saw their own zero
padding, other filters hold. Walking backwards from a cell's 8 × 8 pixels, padding is met only from the outermost row
and column of cells: hence nine classes of cells, and eight thin convolutions along the border beside the large one.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REDUCTION = 8  # picture pixels a feature cell
FIRST, INNER, LAST = "first", "inner", "last"  # where a cell's row or column lies


def conv3(inputs: int, outputs: int, *, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class Tail(nn.Module):
    """[conv C→4C, shuffle ×2] × 3, conv C→3, all linear. [N,C,h,w] -> [N,3,8h,8w]"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ups = nn.ModuleList(conv3(channels, 4 * channels) for _ in range(3))
        self.out = conv3(channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        for up in self.ups:
            x = F.pixel_shuffle(up(x), 2)
        return self.out(x)


class CollapsedTail(nn.Module):
    """The same affine map as Tail in one step. [N,C,h,w] -> [N,3,8h,8w]; h and w at least 3 cells."""

    def __init__(self, tail: Tail) -> None:
        super().__init__()
        self.filters = nn.ModuleDict()
        for row in (FIRST, INNER, LAST):
            for column in (FIRST, INNER, LAST):
                weight, bias = collapse(tail, row=row, column=column)
                seen = {FIRST: slice(2, 5), INNER: slice(0, 5), LAST: slice(0, 3)}  # the other taps meet only padding
                weight = weight[:, :, seen[row], seen[column]]
                padding = (int(row == INNER), int(column == INNER))
                conv = nn.Conv2d(weight.shape[1], weight.shape[0], tuple(weight.shape[2:]), padding=padding)
                conv.weight.data.copy_(weight)
                conv.bias.data.copy_(bias)
                self.filters[f"{row}_{column}"] = conv

    def row(self, strip: Tensor, row: str) -> Tensor:
        """One or more rows of cells: strip [N,C,3 or h,w] -> [N,192,1 or h-2,w]."""
        parts = {FIRST: strip[..., :3], INNER: strip, LAST: strip[..., -3:]}
        return torch.cat([self.filters[f"{row}_{column}"](part) for column, part in parts.items()], dim=3)

    def forward(self, x: Tensor) -> Tensor:
        strips = {FIRST: x[:, :, :3], INNER: x, LAST: x[:, :, -3:]}
        cells = torch.cat([self.row(strip, row) for row, strip in strips.items()], dim=2)
        return F.pixel_shuffle(cells, REDUCTION)


@torch.no_grad()
def collapse(tail: Tail, *, row: str, column: str) -> tuple[Tensor, Tensor]:
    """Filter [192,C,5,5] and bias [192] from a cell's surroundings to its 3 × 8 × 8 pixels, in float64.

    Walks the tail backwards with one unit output a pixel; `taps` always begins two places before the cell's first pixel
    of that resolution and ends two after its last, so what lies outside the picture is the outer two.
    """
    outputs = 3 * REDUCTION**2
    taps = torch.eye(outputs, dtype=torch.float64).reshape(outputs, 3, REDUCTION, REDUCTION)
    bias = tail.out.bias.double().repeat_interleave(REDUCTION**2)
    taps = F.pad(F.conv_transpose2d(taps, tail.out.weight.double()), (1, 1, 1, 1))
    for up in reversed(list(tail.ups)):
        for axis, place in ((2, row), (3, column)):
            if place != INNER:
                taps.narrow(axis, 0 if place == FIRST else taps.shape[axis] - 2, 2).zero_()
        taps = F.pixel_unshuffle(taps, 2)
        bias = bias + taps.sum(dim=(2, 3)) @ up.bias.double()
        taps = F.conv_transpose2d(taps, up.weight.double())
    return taps, bias
