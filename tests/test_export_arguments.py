"""trt-build's words: ours, trtexec's, and the nearest one to every other."""

from pathlib import Path

import pytest

from export.arguments import REFUSED, make_parser, parse
from export.options import Options, nearest
from sdk.errors import InputError


def test_a_short_line_has_the_defaults():
    assert parse(["picoface_x8"]) == Options("picoface_x8")
    assert (Options("m").precision, Options("m").batches, Options("m").calib) == ("fp16", (1, 8, 64), "builtin")


def test_trtexecs_words_mean_ours():
    theirs = (
        "--onnx=m.onnx --saveEngine=e.engine --int8 --fp16 --minShapes=lr:1x3x16x16 --optShapes=lr:8x3x16x16 "
        "--maxShapes=lr:64x3x16x16 --memPoolSize=workspace:512 --timingCacheFile=t.cache --builderOptimizationLevel=4 "
        "--hardwareCompatibilityLevel=ampere+ --versionCompatible --useDLACore=1 --allowGPUFallback --device=2 "
        "--stripWeights --refit --tacticSources=+EDGE_MASK_CONVOLUTIONS,+JIT_CONVOLUTIONS --stronglyTyped"
    )
    ours = (
        "m.onnx -o e.engine --precision int8 --min-shapes lr:1x3x16x16 --opt-shapes lr:8x3x16x16 "
        "--max-shapes lr:64x3x16x16 --workspace 512 --timing-cache t.cache --optimization-level 4 "
        "--hardware-compatibility ampere_plus --version-compatible --dla-core 1 --gpu-fallback --device cuda:2 "
        "--strip-weights --refit --tactic-sources edge-mask,jit"
    )
    assert parse(theirs.split()) == parse(ours.split()) == Options(
        "m.onnx",
        out=Path("e.engine"),
        precision="int8",
        min_shapes=({"lr": (1, 3, 16, 16)},),
        opt_shapes=({"lr": (8, 3, 16, 16)},),
        max_shapes=({"lr": (64, 3, 16, 16)},),
        workspace_mib=512,
        timing_cache=Path("t.cache"),
        optimization_level=4,
        hardware_compatibility="ampere_plus",
        version_compatible=True,
        dla_core=1,
        batches=(1,),
        gpu_fallback=True,
        device=2,
        strip_weights=True,
        refit=True,
        tactic_sources=("edge_mask_convolutions", "jit_convolutions"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ("m --targets sm_86,8.9,120,sm75", "targets", ("sm_86", "sm_89", "sm_120", "sm_75")),
        ("m --max-batch 32", "batches", (1, 8, 32)),
        ("m --max-batch 1", "batches", (1,)),
        ("m --batches 4", "batches", (4,)),
        ("m --target cpu", "precision", "int8"),
        ("m --target thor", "precision", "fp16"),
        ("m --fp16 --int8", "precision", "int8"),
        ("m --fp16 --precision fp32", "precision", "fp32"),
        ("m --keep-fp16 a,b --keep-fp16 c --int8", "keep_fp16", ("a", "b", "c")),
        ("m --memPoolSize=workspace:2G", "workspace_mib", 2048),
        ("m --min-shapes in:1x2 --opt-shapes in:1x2 --max-shapes a:b:3x4", "max_shapes", ({"a:b": (3, 4)},)),
        ("m --shapes=a:2x3 --explicitBatch", "opt_shapes", ({"a": (2, 3)},)),
        ("m --quantiser modelopt", "quantizer", "modelopt"),
        ("m --targets 86,sm_86,8.6,89", "targets", ("sm_86", "sm_89")),
        ("--doctor", "doctor", True),
    ],
)
def test_values(line, field, value):
    assert getattr(parse(line.split()), field) == value


def test_the_command_is_kept_so_that_a_shell_takes_it_again():
    assert parse(["a b.onnx", "--int8"]).command == "trt-build 'a b.onnx' --int8"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "a MODEL; got none"),
        ("m --precison fp16", "--precison, which is none; did you mean --precision?"),
        ("m --builderOptimisationLevel=3", "did you mean --builderOptimizationLevel?"),
        ("m --zzz", "--zzz, which is none; see trt-build --help"),
        ("m n", "unrecognized arguments: n"),
        ("m --onnx n", "one model; got MODEL m and --onnx n"),
        ("m --out", "expected one argument"),
        ("m --precision fp61", "--precision among fp32, fp16, int8, fp8; got 'fp61'; did you mean fp16?"),
        ("m --target orin", "did you mean orin-nx?"),
        ("m --flavour rtx", "did you mean tensorrt_rtx?"),
        ("m --quantizer pytorch", "--quantizer among onnxruntime, modelopt"),
        ("m --hardware-compatibility turing", "--hardware-compatibility among none, ampere_plus"),
        ("m --tactic-sources cublass", "did you mean cublas?"),
        ("m --tactic-sources=-CUBLAS", "name those to use alone"),
        ("m --batches 0", "--batches within 1..4096"),
        ("m --batches 8,8", "different --batches"),
        ("m --batches five", "--batches as a whole number; got 'five'"),
        ("m --batches ,", "1 to 16 --batches"),
        ("m --sizes 0", "--sizes in px, 1 or more"),
        ("m --max-batch -1", "--batches within"),
        ("m --min-shapes lr:1x3", "as many --min-shapes as --opt-shapes and --max-shapes; got 1, 0 and 0"),
        ("m --max-shapes lr", "--max-shapes as NAME:AxBxCxD; got 'lr'"),
        ("m --max-shapes lr:1x0x3", "--max-shapes as NAME:AxBxCxD"),
        ("m --workspace 0", "--workspace of 1 MiB or more"),
        ("m --memPoolSize=dlaSRAM:1", "--memPoolSize=workspace:MIB"),
        ("m --optimization-level 6", "--optimization-level within 0..5"),
        ("m --calib-count 63", "--calib-count within 64..512"),
        ("m --device -1", "--device as the number of a GPU"),
        ("m --device gpu", "--device as a whole number"),
        ("m --dla-core -1 --int8", "--dla-core of 0 or more"),
        ("m --targets rtx4090", "--targets as compute capabilities; got 'rtx4090'"),
        ("m --keep-fp16 a", "--keep-fp16 with --precision int8 or fp8; got fp16"),
        ("m --auto-mixed", "--auto-mixed with --precision int8 or fp8"),
        ("m --dla-core 0 --precision fp32", "fp16 or int8 on a DLA; got fp32"),
        ("m --gpu-fallback", "--gpu-fallback with --dla-core"),
        ("m --targets sm_86 --flavour tensorrt", "--targets with TensorRT-RTX"),
        ("m --target cpu --fp16", "--precision int8 for --target cpu; got fp16"),
        (
            "m --target cpu --targets 86",
            "no options of TensorRT beside --target cpu; got --targets; leave out --targets",
        ),
        ("m --target cpu --keep-fp16 a --workspace 1", "got --keep-fp16, --workspace; leave out --keep-fp16"),
        (
            "m --target cpu --quantizer modelopt --shapes lr:1x3",
            "--quantizer, --min-shapes, --opt-shapes, --max-shapes",
        ),
        ("m --max-shapes lr:\u00b2x3", "--max-shapes as NAME:AxBxCxD"),
        ("m --batches=--", "a value for --batches; got '--'"),
        ("m --quiet --verbose", "--quiet or --verbose; got both"),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(line, words):
    with pytest.raises(InputError) as caught:
        parse(line.split())
    assert words in str(caught.value) and caught.value.remedy


@pytest.mark.parametrize("word", sorted(REFUSED))
def test_words_of_trtexec_that_we_do_not_take_say_why(word):
    with pytest.raises(InputError, match=f"an option of trt-build; got {word}: ") as caught:
        parse(["m", f"{word}=1"])
    assert caught.value.remedy


def test_every_option_is_explained():
    for action in make_parser()._actions:
        assert action.help, action.option_strings


def test_nearest_does_not_guess_wildly():
    assert nearest("fp61", ["fp16", "int8"]) == "did you mean fp16?"
    assert nearest("qwerty", ["fp16", "int8"]) == "use one of: fp16, int8"
