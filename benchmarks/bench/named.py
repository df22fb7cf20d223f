"""The ratios that are asked for by name, with what they must show (docs/BENCH.md says on which machine)."""

from benchmarks.bench.results import Subject, Target
from benchmarks.bench.rounds import Pair

SDK_OVER_BARE = Target("ratio", "most", 1.15)  # batches of 8 and more
SDK_ADDED = Target("difference_ms", "most", 0.8)  # batch 1
AGAINST_TORCH = {"fp32": Target("ratio", "least", 1.5), "int8": Target("ratio", "least", 3.0)}
DECODE_AND_PASTE = Target("ratio", "least", 20.0)
CONTROL = Target("ratio", "most", 1.03)
MANY = 8  # faces from which the SDK's share, not its milliseconds, counts
OUR_NETWORKS = ("picoface_x8", "picoface_x4")
SCENARIO = "Offline"


def sdk_over_bare(sdk: Subject, bare: Subject, batch: int) -> Pair:
    """What the SDK adds to the network alone."""
    on_cpu = sdk.backend == "onnxruntime-cpu"
    target = (SDK_OVER_BARE if batch >= MANY else SDK_ADDED if batch == 1 else None) if on_cpu else None
    return Pair(f"SDK end to end over bare network, {_of(sdk)}", bare.id, sdk.id, SCENARIO, batch, target)


def control(bare: Subject, copy: Subject, batch: int) -> Pair:
    return Pair(f"A/A: bare network over itself, {_of(bare)}", bare.id, copy.id, SCENARIO, batch, CONTROL)


def against_usual_way(sdk: Subject, rival: Subject, batch: int) -> Pair:
    """The SDK against torch with OpenCV and NumPy around it."""
    ours = sdk.model in OUR_NETWORKS and sdk.backend == "onnxruntime-cpu" and rival.way == "torch-eager"
    target = AGAINST_TORCH.get(sdk.precision) if ours else None
    name = f"{rival.way} {rival.precision} with OpenCV and NumPy over SDK, {_of(sdk)}"
    return Pair(name, sdk.id, rival.id, SCENARIO, batch, target)


def against_engine(bare: Subject, rival: Subject, batch: int) -> Pair:
    """Another library's run of the same network over ours; both bare."""
    name = f"{rival.way} on {rival.backend} over bare network, {_of(bare)}"
    return Pair(name, bare.id, rival.id, SCENARIO, batch)


def int8_gain(int8: Subject, fp32: Subject, batch: int) -> Pair:
    return Pair(f"SDK in fp32 over SDK in int8, {int8.model}", int8.id, fp32.id, SCENARIO, batch)


def decode_and_paste(ours: Subject, by_face: Subject, faces: int) -> Pair:
    name = f"decode and paste face by face over ours, {faces} faces in 1080p"
    return Pair(name, ours.id, by_face.id, SCENARIO, faces, DECODE_AND_PASTE)


def _of(subject: Subject) -> str:
    return f"{subject.model} {subject.precision} on {subject.backend}"
