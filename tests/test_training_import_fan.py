"""Published FAN weights: a network with the authors' names, written here from their layer list, is the reference."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from paper_recipes import small
from test_training_train_paper import train

from sdk.errors import InputError, ModelError
from training import checkpoint
from training.import_fan import convert, main, our_name, read_state
from training.models.fan import FAN, FANConfig
from training.train_paper import stages_of


def conv(state, name, inputs, outputs, kernel, *, bias):
    state[f"{name}.weight"] = torch.randn(outputs, inputs, kernel, kernel) / (kernel * inputs**0.5)
    if bias:
        state[f"{name}.bias"] = 0.1 * torch.randn(outputs)


def norm(state, name, channels):
    for part in ("weight", "running_var"):
        state[f"{name}.{part}"] = 0.5 + torch.rand(channels)
    for part in ("bias", "running_mean"):
        state[f"{name}.{part}"] = 0.1 * torch.randn(channels)
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def block(state, name, inputs, outputs):
    for number, (a, b) in enumerate(((inputs, outputs // 2), (outputs // 2, outputs // 4), (outputs // 4,) * 2), 1):
        norm(state, f"{name}.bn{number}", a)
        conv(state, f"{name}.conv{number}", a, b, 3, bias=False)
    if inputs != outputs:
        norm(state, f"{name}.downsample.0", inputs)
        conv(state, f"{name}.downsample.2", inputs, outputs, 1, bias=False)


def published(stacks):
    """A state dict with the names and shapes of the authors' models.py, in its order of layers."""
    torch.manual_seed(4)
    state = {}
    conv(state, "conv1", 3, 64, 7, bias=True)
    norm(state, "bn1", 64)
    for name, inputs, outputs in (("conv2", 64, 128), ("conv3", 128, 128), ("conv4", 128, 256)):
        block(state, name, inputs, outputs)
    for n in range(stacks):
        for level in (4, 3, 2, 1):
            for part in ("b1", "b2", *(["b2_plus"] if level == 1 else []), "b3"):
                block(state, f"m{n}.{part}_{level}", 256, 256)
        block(state, f"top_m_{n}", 256, 256)
        conv(state, f"conv_last{n}", 256, 256, 1, bias=True)
        norm(state, f"bn_end{n}", 256)
        conv(state, f"l{n}", 256, 68, 1, bias=True)
        if n < stacks - 1:
            conv(state, f"bl{n}", 256, 256, 1, bias=True)
            conv(state, f"al{n}", 68, 256, 1, bias=True)
    return state


class Reference:
    """The forward pass that PAPERS 2.2 describes, on the published names."""

    def __init__(self, state):
        self.state = state

    def conv(self, name, x, **options):
        return F.conv2d(x, self.state[f"{name}.weight"], self.state.get(f"{name}.bias"), **options)

    def norm(self, name, x):
        mean, var, weight, bias = (self.state[f"{name}.{p}"] for p in ("running_mean", "running_var", "weight", "bias"))
        return F.relu(F.batch_norm(x, mean, var, weight, bias))

    def block(self, name, x):
        a = self.conv(f"{name}.conv1", self.norm(f"{name}.bn1", x), padding=1)
        b = self.conv(f"{name}.conv2", self.norm(f"{name}.bn2", a), padding=1)
        c = self.conv(f"{name}.conv3", self.norm(f"{name}.bn3", b), padding=1)
        if f"{name}.downsample.2.weight" in self.state:
            x = self.conv(f"{name}.downsample.2", self.norm(f"{name}.downsample.0", x))
        return torch.cat([a, b, c], dim=1) + x

    def hourglass(self, name, x, level):
        low = self.block(f"{name}.b2_{level}", F.avg_pool2d(x, 2))
        low = self.hourglass(name, low, level - 1) if level > 1 else self.block(f"{name}.b2_plus_1", low)
        low = self.block(f"{name}.b3_{level}", low)
        return self.block(f"{name}.b1_{level}", x) + low.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    def heatmaps(self, x, stacks):
        x = self.norm("bn1", self.conv("conv1", x, stride=2, padding=3))
        x = F.avg_pool2d(self.block("conv2", x), 2)
        x, found = self.block("conv4", self.block("conv3", x)), []
        for n in range(stacks):
            y = self.block(f"top_m_{n}", self.hourglass(f"m{n}", x, 4))
            y = self.norm(f"bn_end{n}", self.conv(f"conv_last{n}", y))
            found.append(self.conv(f"l{n}", y))
            if n < stacks - 1:
                x = x + self.conv(f"bl{n}", y) + self.conv(f"al{n}", found[-1])
        return found


@pytest.mark.parametrize(("stacks", "count"), [(2, 12_106_504), (4, 23_820_176)])
def test_every_array_finds_its_place(stacks, count):
    """Counts of PAPERS 11.1; statistics are not parameters."""
    made = convert(published(stacks))
    assert sum(p.numel() for p in checkpoint.build(made).parameters()) == count
    assert made["config"]["stacks"] == stacks and made["runs"][0]["steps"] == 0


def test_the_network_computes_what_the_names_say():
    state, x = published(2), torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        wanted = Reference(state).heatmaps(x, 2)
        stages = checkpoint.build(convert(state))(x)["stages"]
        first = checkpoint.build(convert(state, stacks=1))(x)["heatmaps"]
    for n in range(2):
        scale = float(wanted[n].abs().max())
        np.testing.assert_allclose(stages[:, n], wanted[n], atol=1e-5 * scale)
    torch.testing.assert_close(first, stages[:, 0])  # the first hourglasses are a network of their own


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
@pytest.mark.parametrize("wrap", ["bare", "state_dict", "module", "torchscript"])
def test_files_as_they_are_published(wrap, tmp_path):
    state, path = published(1), tmp_path / "2DFAN.pth.tar"
    if wrap == "torchscript":
        holder = torch.nn.Module()
        for name, value in state.items():
            *parents, last = name.split(".")
            at = holder
            for parent in parents:
                if not hasattr(at, parent):
                    at.add_module(parent, torch.nn.Module())
                at = getattr(at, parent)
            at.register_buffer(last, value)
        torch.jit.save(torch.jit.script(holder), path)
    else:
        names = {f"module.{k}": v for k, v in state.items()} if wrap == "module" else state
        torch.save({"state_dict": names, "epoch": 3} if wrap == "state_dict" else names, path)
    read = read_state(path)
    assert set(read) == set(state) and all(torch.equal(read[k], v) for k, v in state.items())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("m0.b3_2.conv1.weight"), "none"),
        (lambda s: s.update({"bn1.weight": torch.ones(3)}), r"\(64,\) for stem.bn.weight; got bn1.weight \(3,\)"),
        (lambda s: s.update({"l0.bias": torch.full((68,), torch.nan)}), "finite numbers in l0.bias"),
        (lambda s: s.update({"fc.weight": torch.ones(3)}), "fc.weight"),
        (lambda s: s.update({"m0.b2_plus_3.bn1.weight": torch.ones(256)}), "b2_plus_3"),
        (lambda s: s.update({"conv3.downsample.0.bias": torch.ones(128)}), "conv3.downsample.0.bias"),
        (lambda s: s.update({"l7.bias": torch.ones(68)}), r"hourglasses \[0, 7\]"),
        (lambda s: s.clear(), r"hourglasses \[\]"),
    ],
)
def test_other_weights_are_refused(change, words):
    state = published(1)
    change(state)
    with pytest.raises(ModelError, match=words):
        convert(state)


def test_files_that_are_none_end_with_a_sentence(tmp_path, capsys):
    path, out = tmp_path / "x.pth", tmp_path / "fan.pt"
    for content in (None, b"", b"text", [1, 2]):
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        assert main([str(path), "-o", str(out)]) == 2 and not out.exists()
        assert "authors' PyTorch names" in capsys.readouterr().err
    torch.save(published(1), path)
    assert main([str(path), "-o", str(out), "--stacks", "2"]) == 2 and "1 to 1" in capsys.readouterr().err
    assert main([str(path), "-o", str(out)]) == 0 and "1 hourglasses" in capsys.readouterr().out
    assert our_name("layer1.0.conv1.weight") is None  # the network of depths


def test_super_fan_takes_it_by_init_and_trains_no_fan(face_pack, tmp_path):
    """Of two hourglasses the first; another size is refused, not half taken."""
    recipe = small("super_fan_64", face_pack)
    recipe = replace(recipe, stages=recipe.stages[:2])
    own = recipe.config.fan()
    fan = {**convert(published(1)), "config": replace(own, stacks=2).as_dict()}
    fan["weights"] = FAN(replace(own, stacks=2)).state_dict()
    checkpoint.save(tmp_path / "fan.pt", fan)
    assert [stage.name for stage in stages_of(recipe, fan)] == ["pixel"]
    said: list[str] = []
    assert train(recipe, tmp_path / "run", said, steps=1, init=tmp_path / "fan.pt")
    made = checkpoint.load(tmp_path / "run" / "super_fan_64.pt")
    assert any("published weights of FAN" in text for text in [made["spec"]])
    got = {k: v for k, v in made["weights"].items() if k.startswith("fan.")}
    assert got and all(torch.equal(v, fan["weights"][k.removeprefix("fan.")]) for k, v in got.items())
    fan["weights"] = FAN(FANConfig(stacks=1, depth=1, channels=12, input_size=64)).state_dict()
    checkpoint.save(tmp_path / "other.pt", fan)
    with pytest.raises(InputError, match="of other sizes"):
        train(recipe, tmp_path / "x", steps=1, init=tmp_path / "other.pt")
