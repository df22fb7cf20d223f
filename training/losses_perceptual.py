"""Perceptual losses: squared differences of a frozen network's features.

    resnet50    layer1..layer3 (B1, B2, B3)    Super-FAN, weights 1 each
    vgg16       relu5_3                        FSRGAN
    vgg19       relu3_2                        MTUN

Their ImageNet weights are nobody's to ship here: `load_features(name, FILE)` reads a state dict in torchvision's names.
Given a checkpoint of ours instead, the features are its trunk's, trained on faces and not on ImageNet; the notice that
it returns says so, and the trainer prints it. Without any file there is no perceptual loss,
an error: random features would be one in name only.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sdk.errors import ModelError
from training import checkpoint

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, of RGB in [0, 1]
CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)  # MTUN's VGG-19: BGR in 0..255
VGG_BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions between poolings, Table 1 of VGG
VGG_CUT = {"vgg16": (5, 3), "vgg19": (3, 2)}  # block and convolution whose ReLU is read
CHANNELS = (64, 128, 256, 512, 512)
TRUNKS = {  # model of a checkpoint -> what stands in for ImageNet's features: (network, RGB in [0,1]) -> [N,C,h,w]
    "picoface": lambda network, picture: network.sr.features(picture),
    "srresnet": lambda network, picture: network.body(network.first(picture)),
    "fan": lambda network, picture: network.stem(picture),
    "jasrnet": lambda network, picture: network.encoder(network.head(network.normalise(picture))),
}


class VGGFeatures(nn.Module):
    """RGB [N,3,H,W] in [0,1] -> [features of one ReLU]. Names as torchvision's `features.N`."""

    def __init__(self, name: str, *, caffe: bool = False) -> None:
        super().__init__()
        last_block, last_conv = VGG_CUT[name]
        layers: list[nn.Module] = []
        inputs = 3
        for block, count in enumerate(VGG_BLOCKS[name][:last_block], 1):
            for _ in range(count if block < last_block else last_conv):
                layers += [nn.Conv2d(inputs, CHANNELS[block - 1], 3, padding=1), nn.ReLU()]
                inputs = CHANNELS[block - 1]
            if block < last_block:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.caffe = caffe

    def forward(self, picture: Tensor) -> list[Tensor]:
        if self.caffe:
            mean = picture.new_tensor(CAFFE_MEAN_BGR)[:, None, None]
            return [self.features(255.0 * picture.flip(1) - mean)]
        return [self.features(normalised(picture))]


class Bottleneck(nn.Module):
    """ResNet's 1×1, 3×3, 1×1 with a sum. Names as torchvision's."""

    def __init__(self, inputs: int, width: int, *, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != 4 * width:
            conv = nn.Conv2d(inputs, 4 * width, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(y)))))
        return torch.relu(y + self.downsample(x))


class ResNetFeatures(nn.Module):
    """RGB [N,3,H,W] in [0,1] -> outputs of layer1, layer2 and layer3 of ResNet-50. Names as torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1, self.layer2 = _layer(64, 64, count=3, stride=1), _layer(256, 128, count=4, stride=2)
        self.layer3 = _layer(512, 256, count=6, stride=2)

    def forward(self, picture: Tensor) -> list[Tensor]:
        x = self.pool(torch.relu(self.bn1(self.conv1(normalised(picture)))))
        b1 = self.layer1(x)
        b2 = self.layer2(b1)
        return [b1, b2, self.layer3(b2)]


def _layer(inputs: int, width: int, *, count: int, stride: int) -> nn.Sequential:
    first = Bottleneck(inputs, width, stride=stride)
    return nn.Sequential(first, *[Bottleneck(4 * width, width, stride=1) for _ in range(count - 1)])


class TrunkFeatures(nn.Module):
    """RGB [N,3,H,W] in [0,1] -> [the trunk's features of a network of ours]."""

    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, picture: Tensor) -> list[Tensor]:
        return [TRUNKS[self.kind](self.network, picture)]


def normalised(picture: Tensor) -> Tensor:
    mean, std = picture.new_tensor(MEAN), picture.new_tensor(STD)
    return (picture - mean[:, None, None]) / std[:, None, None]


def perceptual_loss(features: nn.Module, sr: Tensor, hr: Tensor) -> Tensor:
    """Sum over the layers read of the mean squared difference; pictures RGB in [0,1], [N,3,H,W]."""
    with torch.no_grad():
        truth = features(hr)
    return torch.stack([(a - b).square().mean() for a, b in zip(features(sr), truth, strict=True)]).sum()


def load_features(name: str, path: Path | None, *, caffe: bool = False) -> tuple[nn.Module, str]:
    """A frozen feature network and one sentence about what it is.

    Args:
        name: "resnet50", "vgg16" or "vgg19".
        path: a state dict in torchvision's names, or a checkpoint of ours whose trunk stands in for it.
        caffe: the file's weights were made for BGR in 0..255 minus a mean, as MTUN's VGG-19.

    Raises:
        ModelError: no file, one that is neither, weights that do not fit or are not finite.
    """
    if path is None:
        raise ModelError(f"weights of {name} for the perceptual loss", "no --features", _remedy(name))
    if not path.is_file():
        raise ModelError("a file of weights", f"{path}, which does not exist", _remedy(name))
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # foreign bytes make torch's unpickler raise nearly anything
        reason = (str(error).splitlines() or ["the file is empty"])[0]
        raise ModelError("weights that torch reads safely", f"{path} ({reason})", _remedy(name)) from error
    if isinstance(content, dict) and content.get("format") == checkpoint.FORMAT:
        return _substitute(name, content, path)
    if caffe and name == "resnet50":
        raise ModelError("VGG weights with --caffe", f"those of {name}", "leave --caffe out")
    network = ResNetFeatures() if name == "resnet50" else VGGFeatures(name, caffe=caffe)
    wanted = network.state_dict()
    fitting = {k: v for k, v in content.items() if k in wanted} if isinstance(content, Mapping) else {}
    lacking = [k for k, v in wanted.items() if getattr(fitting.get(k), "shape", None) != v.shape]
    lacking = [k for k in lacking if not k.endswith("num_batches_tracked")]
    if lacking or not all(torch.isfinite(v).all() for v in fitting.values()):
        got = f"{path} without {lacking[0]} and {len(lacking) - 1} more" if lacking else f"NaN or infinity in {path}"
        raise ModelError(f"finite weights of {name} in torchvision's names", got, _remedy(name))
    network.load_state_dict(fitting, strict=False)
    colours = " in Caffe's colours" if caffe else ""
    return frozen(network), f"perceptual loss: features of {name} from {path.name}{colours}"


def _substitute(name: str, content: dict[str, object], path: Path) -> tuple[nn.Module, str]:
    kind = str(content.get("model"))
    if kind not in TRUNKS:
        raise ModelError(f"a checkpoint of {sorted(TRUNKS)} in place of {name}", f"{kind!r} in {path}", _remedy(name))
    network = TrunkFeatures(checkpoint.build(content), kind)
    notice = f"perceptual loss: NOT {name} but the trunk of {kind} in {path.name}, which was trained on faces"
    return frozen(network), notice


def frozen(network: nn.Module) -> nn.Module:
    """In eval mode, without gradients of its weights."""
    return network.eval().requires_grad_(False)


def _remedy(name: str) -> str:
    return f"pass --features FILE: {name} in torchvision's names, or a checkpoint of {', '.join(TRUNKS)}"
