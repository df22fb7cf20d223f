"""The papers' evaluations by name: which archive, which input, which numbers, and what differs from the paper here.

`python -m training.evaluate MODEL --protocol NAME` carries one out; PAPERS 1.3, 2.6, 3.5, 4.5 and 5.4 are the sources.
"""

from dataclasses import dataclass

from sdk.errors import InputError

HELEN = "faces68_helen_nc"
PAIRS = "fsrnet_val_nc"


@dataclass(frozen=True)
class Preset:
    """One protocol. Archive and split may be replaced by others of the same format."""

    paper: str  # as in benchmarks/paper_figures.json
    table: str  # of that paper
    pack: str
    split: str
    scale: int
    lr_px: int | None  # side of the input; None: whole pictures of any size, from the archive's own LR files
    metrics: tuple[str, ...]  # of sdk.image.metrics.PROTOCOLS; the first is the table's, others stand beside it
    kind: str = "pictures"  # "pictures", "gain", "verification" or "parsing"
    cut: str | None = None  # pipeline whose window is cut from the archive's pictures; None: as the archive cut them
    baseline: str = "bicubic"  # what the table compares with: "bicubic", "opencv" (a = -0.75) or "bilinear"
    lr_files: bool = False  # networks that take enlarged pictures get the archive's own
    moved_input: bool = False  # MTUN: the input is turned, scaled and shifted, the truth upright
    normaliser: str = "outer_eye"  # of NME, as sdk.image.metrics.nme
    pose_bins: bool = False  # numbers by yaw too
    cumulative: bool = False  # SRINC's Eq. 4 too
    luminance: bool = False  # a luminance network's own plane is compared, without a way through RGB
    differs: tuple[str, ...] = ()  # from the paper


_LANDMARKS_DIFFER = ("68 points of HELEN's 330 test faces by 300-W", "trained on our archives within the stated budget")
_SRINC = {"cumulative": True, "luminance": True}
PRESETS = {
    "fsrnet_helen50": Preset(
        "FSRNet", "Table 2", PAIRS, "helen", 8, 16, ("fsrnet",), lr_files=True,
        differs=(
            "networks of 16-px faces get the truth reduced by antialiased bicubic; its files hold enlarged faces alone",
        ),
    ),
    "fsrnet_celeba": Preset(
        "FSRNet", "Table 2", PAIRS, "celeba", 8, 16, ("fsrnet",), lr_files=True,
        differs=(
            "508 of the 1,000 pairs that its authors published, not the table's 100 pictures",
            "networks of 16-px faces get the truth reduced by antialiased bicubic; its files hold enlarged faces alone",
        ),
    ),
    "jasrnet_helen": Preset(
        "JASRNet", "Tables 1 and 2", HELEN, "test", 8, 16, ("jasrnet", "jasrnet_code"), cut="jasrnet",
        baseline="opencv",
        differs=(*_LANDMARKS_DIFFER, "the paper's HELEN has 194 points and 50 test faces; its NME is over 300-W"),
    ),
    "superfan_helen": Preset(
        "Super-FAN", "Tables 1 and 2", HELEN, "test", 4, 16, ("superfan", "superfan_y"), cut="super_fan",
        baseline="bilinear", normaliser="sqrt_landmark_box", pose_bins=True,
        differs=(
            "HELEN's 330 test faces, most of them near the front, not the 3,000 of LS3D-W balanced",
            "yaw estimated from the true points where the archive has no label",
            "trained on our archives within the stated budget",
        ),
    ),
    "mtun": Preset(
        "MTUN", "Table 1", PAIRS, "celeba", 8, 16, ("mtun", "mtun_y"), moved_input=True,
        differs=(
            "508 CelebA pictures as FSRNet cut them, not aligned and without Menpo",
            "ranges of the movement are a sister script's; fixed seed",
            "other networks get the input turned back by the true movement, the paper's by a trained STN",
        ),
    ),
    **{
        f"srinc_{name.lower()}_x{scale}": Preset(
            "SRINC", "Table 1", "srbench", name, scale, None, ("srinc",), **_SRINC,
            differs=("colour pictures by their Y alone",),
        )
        for name in ("Set5", "Set14", "BSD100", "Urban100")
        for scale in (2, 3, 4)
    },
    **{
        f"landmark_gain_x{scale}": Preset(
            "SRINC", "Figure 4", HELEN, "test", scale, 128 // scale, ("srinc",), kind="gain",
            differs=(
                "a landmark network of ours in place of CFSS and TCDCN",
                "windows of 1.5 times the landmark box at 128 px, not the box of CFSS at 100 px; no iBUG",
            ),
        )
        for scale in (4, 8)
    },
    "superfan_gain": Preset(
        "Super-FAN", "Table 2", HELEN, "test", 4, 16, ("superfan",), kind="gain", cut="super_fan", baseline="bilinear",
        normaliser="sqrt_landmark_box", pose_bins=True,
        differs=(
            "HELEN's 330 test faces, most of them near the front, not the 3,000 of LS3D-W balanced",
            "yaw estimated from the true points where the archive has no label",
        ),
    ),
    "lfw": Preset(
        "JASRNet", "Table 3", "lfw", "lfw", 8, 16, ("jasrnet",), kind="verification",
        differs=("the recogniser of the paper is not named: accuracies compare within this table alone",),
    ),
    "parsing": Preset(
        "FSRNet", "Table 3", PAIRS, "helen", 8, 16, ("fsrnet",), kind="parsing", lr_files=True,
        differs=("another parser than GFC; without labels the parse of the truth stands in, as the paper's on CelebA",),
    ),
}  # fmt: skip


def preset(name: str) -> Preset:
    """Preset by name. Raises InputError listing the known ones."""
    if name not in PRESETS:
        raise InputError(f"a protocol of {', '.join(PRESETS)}", repr(name), "pick one of those")
    return PRESETS[name]
