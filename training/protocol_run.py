"""A protocol (training.protocols) carried out for some networks, its result file written after every row."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sdk.errors import FaceTRTError, InputError, ModelError
from sdk.image.metrics import PROTOCOLS, score_pair
from sdk.zoo import model_path
from training.data.feeding import U8
from training.data.packs import Pack, open_pack, pack_name
from training.eightfold import EightFold
from training.evaluate_protocol import Model, evaluate, fitting, predictions
from training.landmark_gain import GainWork, Key, Make
from training.paper_results import ResultFile, digest, training_of
from training.parsing_iou import labels_of, open_parser, parse_scores
from training.predictors import open_network
from training.protocol_examples import Example, examples
from training.protocols import Preset, preset
from training.verification import open_embedder, read_pairs, verify

DETECTOR = "picoface_x4"
TRIES = 3  # to read a checkpoint between two of its writings
BASELINES = ("bicubic", "bilinear")  # in every table by themselves
Report = Callable[[str], None]
Work = Callable[[Model | None, Pack, Sequence[Example]], Iterator[tuple[Key, Make]]]


@dataclass(frozen=True)
class Asked:
    """Options of a run."""

    pack: str | None = None  # None: the protocol's own
    split: str | None = None
    limit: int | None = None  # first pictures alone
    augmented: bool = False  # 8-fold test-time augmentation of all models
    also_augmented: tuple[str, ...] = ()  # models that get both rows
    detectors: tuple[str, ...] = ()  # of kind "gain"; none: DETECTOR
    embedder: str | None = None  # of kind "verification"
    parser: str | None = None  # of kind "parsing"


def run_protocol(
    name: str,
    models: Sequence[str],
    asked: Asked,
    *,
    path: Path | None,
    command: str,
    report: Report,
    refused: Callable[[str, FaceTRTError], None] | None = None,  # None: a network that does not open or fit raises
) -> list[dict[str, Any]]:
    """Rows of all models, the file's earlier ones included; the file is written after each.

    Raises InputError, ModelError and OutputError, before the work where they can be.
    """
    rule = preset(name)
    rule = replace(rule, pack=asked.pack or rule.pack, split=asked.split or rule.split)
    networks = []
    for model in models:
        try:
            networks += _opened(model, rule, asked)
        except (InputError, ModelError) as error:
            if refused is None:
                raise
            refused(model, error)
    work = work_of(rule, asked)
    pack = open_pack(rule.pack)
    file = ResultFile(path, conditions(name, rule, asked))
    chosen = examples(rule, pack, split=rule.split, limit=asked.limit)
    file.pictures = {"id": [e.id for e in chosen]}
    if rule.pose_bins:
        sources = sorted({str(e.yaw_from) for e in chosen})
        told = sources[0] if len(sources) == 1 else "both"
        file.pictures |= {"yaw_deg": [round(e.yaw_deg or 0.0, 1) for e in chosen], "yaw_from": told}
    for network, weights in ((None, None), *networks):
        for key, make in work(network, pack, chosen):
            if file.has(key, None if weights is None else str(weights["sha256"])):
                continue
            report(f"{name}: {key['model']}{' with augmentation' if key['augmented'] else ''}\n")
            file.put({**key, **make(), "training": weights})
            file.write(command)
    return file.rows


def _opened(model: str, rule: Preset, asked: Asked) -> list[tuple[Model, dict[str, Any]]]:
    """The network and its eight-fold form where asked for, each with what made its weights; nothing for a baseline."""
    if model in BASELINES:
        return []
    for _ in range(TRIES):
        before = digest(model_path(model))
        network = fitting(open_network(model), rule)
        assert network.path is not None, model
        weights = training_of(network.path)
        if weights["sha256"] == before:  # else a run in progress has written a new one meanwhile
            eight = EightFold(network)
            forms = [eight] if asked.augmented else [network, eight] if model in asked.also_augmented else [network]
            return [(form, weights) for form in forms]
    raise ModelError(
        "weights that stay while they are read", f"{model}, changed {TRIES} times", "copy it, then try again"
    )


def conditions(name: str, rule: Preset, asked: Asked) -> dict[str, Any]:
    """What all rows of a file have in common."""
    told = {**asdict(rule), "pack": pack_name(rule.pack)}
    told = {"name": name, **{key: list(v) if isinstance(v, tuple) else v for key, v in told.items()}}
    return {"protocol": told, "limit": asked.limit}


def work_of(rule: Preset, asked: Asked) -> Work:
    """What a protocol's kind does with a network. Raises InputError and ModelError: options that are not its own."""
    kinds = {"detectors": "gain", "embedder": "verification", "parser": "parsing"}
    for option, kind in kinds.items():
        if getattr(asked, option) and rule.kind != kind:
            expected = f"--{option.removesuffix('s')} with a protocol of kind {kind!r}"
            raise InputError(expected, f"one of kind {rule.kind!r}", "leave it out")
    if rule.kind == "gain":
        return GainWork(rule, asked.detectors or (DETECTOR,))
    if rule.kind == "verification":
        return _verification(rule, asked)
    return _parsing(rule, asked) if rule.kind == "parsing" else partial(_pictures, rule)


def _pictures(rule: Preset, network: Model | None, pack: Pack, chosen: Sequence[Example]) -> Iterator[tuple[Key, Make]]:
    yield _key(rule, network), lambda: evaluate(network, rule, chosen)


def _key(rule: Preset, network: Model | None) -> Key:
    baseline = "bilinear" if rule.baseline == "bilinear" else "bicubic"
    return {"model": baseline if network is None else network.name, "augmented": isinstance(network, EightFold)}


def _shown(rule: Preset, network: Model | None, chosen: Sequence[Example]) -> list[U8]:
    if network is None:
        return [e.baseline for e in chosen]
    return [picture for _, picture, _, _ in predictions(network, rule, chosen)]


def _verification(rule: Preset, asked: Asked) -> Work:
    if asked.embedder is None or asked.limit is not None:
        got = "none" if asked.embedder is None else f"--limit {asked.limit}"
        raise InputError("--embedder FILE.onnx (or grey) and all pictures", got, "see --help")
    embedder = open_embedder(asked.embedder)

    def work(network: Model | None, pack: Pack, chosen: Sequence[Example]) -> Iterator[tuple[Key, Make]]:
        pairs = read_pairs(pack.root / "pairs.csv", [e.id for e in chosen])
        told = {"embedder": embedder.name, "embedder_sha256": embedder.sha256}

        def row(pictures: list[U8]) -> dict[str, Any]:
            return {"n": len(pairs.same), **_means(rule, pictures, chosen), **verify(embedder, pictures, pairs)}

        yield {**_key(rule, network), **told}, lambda: row(_shown(rule, network, chosen))
        if network is None:
            yield {"model": "truth", "augmented": False, **told}, lambda: row([e.hr for e in chosen])

    return work


def _parsing(rule: Preset, asked: Asked) -> Work:
    if asked.parser is None:
        raise InputError("--parser MODEL, a network with parsing maps", "none", "see --help")
    parser = open_parser(asked.parser)

    def work(network: Model | None, pack: Pack, chosen: Sequence[Example]) -> Iterator[tuple[Key, Make]]:
        def row() -> dict[str, Any]:
            pictures = _shown(rule, network, chosen)
            size = parser(chosen[0].hr[None]).shape[1]
            labels = labels_of(pack, [e.id for e in chosen], size=size, classes=parser.classes)
            scores = parse_scores(parser, pictures, lambda: [e.hr for e in chosen], labels=labels)
            return {"n": len(chosen), **_means(rule, pictures, chosen), **scores}

        yield {**_key(rule, network), "parser": parser.name, "parser_sha256": parser.sha256}, row

    return work


def _means(rule: Preset, pictures: Sequence[U8], chosen: Sequence[Example]) -> dict[str, float]:
    protocol = PROTOCOLS[rule.metrics[0]]
    scores = [score_pair(p, e.hr, protocol, scale=rule.scale) for p, e in zip(pictures, chosen, strict=True)]
    psnr, ssim = np.mean(scores, axis=0)
    return {"psnr": float(psnr), "ssim": float(ssim)}
