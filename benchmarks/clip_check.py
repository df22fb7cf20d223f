"""A clip through face-enhance, and a long stream: `python -m benchmarks.clip_check --json OUT`.

Clip: SECONDS of 720p with moving faces and sound (benchmarks.clip_scene) through the command in a process of its own,
whose memory is read from /proc twice a second. Checked in the output: frames, and where flashes and clicks of each
second are. Steadiness: a still face under camera noise, points and pictures of the stream against those of single
frames. Soak: FRAMES small frames through FaceStream in this process: memory, threads and open files at a tenth and at
the end.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.clip_scene import SQUARE_PX, Scene, walkers, write_clip
from sdk.enhancer import FaceEnhancer
from sdk.video.following import Follower, FollowRule
from sdk.video.stream import FaceStream, StreamOptions

FPS, SIZE_HW = 25, (720, 1280)
SOAK_HW = (48, 64)
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
STILL_FRAMES, STILL_NOISE, STILL_FACE_PX = 60, 5.0, 24.0
CLICK_LEVEL, FLASH_LEVEL = 3000, 240.0


def resident_mib(pid: int | str = "self") -> float:
    """Resident memory of a process, from /proc."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_MIB


def run_command(source: Path, target: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """face-enhance over a clip: seconds, and MiB by second."""
    command = [sys.executable, "-m", "sdk.cli", str(source), str(target), *arguments]
    begun_s, memory = time.monotonic(), []
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stderr=said)
        while child.poll() is None:
            try:
                memory.append((time.monotonic() - begun_s, resident_mib(child.pid)))
            except (OSError, IndexError):  # it has just ended
                break
            time.sleep(0.5)
        code = child.wait()
        said.seek(0)
        text = said.read().decode(errors="replace").strip()
    if code:
        raise SystemExit(f"face-enhance ended with {code}: {text}")
    seconds = time.monotonic() - begun_s
    return {"seconds": round(seconds, 2), "memory": memory, "said": text}


def moments(path: Path) -> tuple[int, list[float], list[float]]:
    """Frames of a clip, times of its flashes, times of its clicks."""
    av: Any = importlib.import_module("av")
    flashes: list[float] = []
    frames = 0
    with av.open(str(path)) as clip:
        for frame in clip.decode(video=0):
            frames += 1
            corner = frame.to_ndarray(format="rgb24")[-SQUARE_PX + 4 : -4, 4 : SQUARE_PX - 4]
            if corner.mean() > FLASH_LEVEL:
                flashes.append(float(frame.time))
    clicks: list[float] = []
    with av.open(str(path)) as clip:
        for block in clip.decode(audio=0):
            wave = block.to_ndarray().astype(np.float64).reshape(-1)
            wave = wave * 32767.0 if np.abs(wave).max() <= 1.5 else wave
            for sample in np.flatnonzero(np.abs(wave) > CLICK_LEVEL):
                time_s = float(block.time) + sample / block.sample_rate
                if not clicks or time_s - clicks[-1] > 0.5:
                    clicks.append(time_s)
    return frames, flashes, clicks


def clip(seconds: int, faces: int, arguments: Sequence[str]) -> dict[str, Any]:
    """The clip there and back."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.mp4", Path(folder) / "out.mp4"
        write_clip(source, seconds=seconds, fps=FPS, size_hw=SIZE_HW, faces=faces)
        run = run_command(source, target, arguments)
        before, after = moments(source), moments(target)
    memory = np.array(run["memory"])
    half = memory[np.searchsorted(memory[:, 0], 0.5 * run["seconds"]), 1]
    ends = float(memory[-3:, 1].mean())
    together = [abs(flash - click) for flash, click in zip(after[1], after[2], strict=False)]
    return {
        "seconds": seconds, "faces": faces, "frame_hw": list(SIZE_HW), "arguments": list(arguments),
        "frames_in": before[0], "frames_out": after[0], "flashes": [len(before[1]), len(after[1])],
        "clicks": [len(before[2]), len(after[2])], "largest_gap_s": round(max(together, default=float("nan")), 4),
        "frame_s": 1 / FPS, "run_s": run["seconds"], "frames_per_s": round(after[0] / run["seconds"], 2),
        "memory_half_mib": round(float(half), 1), "memory_end_mib": round(ends, 1), "said": run["said"],
    }  # fmt: skip


def steadiness() -> dict[str, float]:
    """A still face under noise: how far points jump and pictures flicker from frame to frame, stream by single frames.

    Picture flicker is given as temporal PSNR: the face does not move, so the warp between frames is the identity.
    """
    scene = Scene(walkers(1), (240, 320))
    box = scene.boxes(0.0)
    still = scene.frame(1, FPS).astype(np.float32)  # frame 0 flashes
    rng = np.random.default_rng(0)
    points: dict[str, list[Any]] = {"single": [], "stream": []}
    images: dict[str, list[Any]] = {"single": [], "stream": []}
    with FaceEnhancer(threads=1, color="rgb") as enhancer:
        ways = {
            "single": Follower(enhancer, FollowRule(smoothing=None, steadiness=None)),
            "stream": Follower(enhancer),
        }
        for index in range(STILL_FRAMES):
            noisy = np.clip(still + rng.normal(scale=STILL_NOISE, size=still.shape) + 0.5, 0, 255).astype(np.uint8)
            for name, follower in ways.items():
                found = follower(noisy, box if name == "single" or index == 0 else None, index / FPS)[0].result
                points[name].append(found.landmarks)
                images[name].append(found.image)
    jump = {k: float(np.linalg.norm(np.diff(np.stack(v[10:]), axis=0), axis=2).mean()) for k, v in points.items()}
    power = {k: float(np.square(np.diff(np.stack(v[10:]).astype(float), axis=0)).mean()) for k, v in images.items()}
    psnr = {k: 10 * np.log10(255.0**2 / v) for k, v in power.items()}
    return {
        "jitter_single_px": round(jump["single"], 4), "jitter_stream_px": round(jump["stream"], 4),
        "jitter_ratio": round(jump["single"] / jump["stream"], 2),
        "flicker_single_db": round(float(psnr["single"]), 2), "flicker_stream_db": round(float(psnr["stream"]), 2),
    }  # fmt: skip


class _Idle:
    """An enhancer without networks: what the stream itself costs and keeps."""

    def detect(self, frame: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.zeros((0, 4))

    def enhance(self, frame: npt.NDArray[Any], boxes: Any = None, *, box_kind: str = "face") -> list[Any]:
        return []

    def render(self, frame: npt.NDArray[Any], results: list[Any], *, strength: float = 1.0) -> npt.NDArray[np.uint8]:
        return frame.copy()


def soak(frames: int) -> dict[str, Any]:
    """Many small frames: memory, open files and threads early and at the end, and that every frame came through."""

    def source() -> Iterator[npt.NDArray[np.uint8]]:
        for index in range(frames):
            yield np.full((*SOAK_HW, 3), index % 256, np.uint8)

    def state() -> dict[str, float]:
        return {
            "memory_mib": round(resident_mib(), 2),
            "files": len(os.listdir("/proc/self/fd")),
            "threads": len(os.listdir("/proc/self/task")),
        }

    begun_s, early, last_s = time.monotonic(), None, -1.0
    stream = FaceStream(_Idle(), source(), StreamOptions(fps=FPS))
    for result in stream:
        assert result.frame.time_s > last_s, "times must rise"
        last_s = result.frame.time_s
        if result.frame.index == frames // 10:
            early = state()
    seconds = time.monotonic() - begun_s
    drift_s = abs(last_s - (frames - 1) / FPS)
    return {
        "frames": frames, "given": stream.counts.given, "dropped": stream.counts.dropped, "early": early,
        "end": state(), "drift_s": drift_s, "seconds": round(seconds, 1),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clip_check", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=60, help="of the clip")
    parser.add_argument("--faces", type=int, nargs="+", default=[2, 5], help="clips with so many faces")
    parser.add_argument("--frames", type=int, default=100_000, help="of the soak")
    parser.add_argument("--arguments", default="--detect-every 5", help="for face-enhance")
    parser.add_argument("--json", default="benchmarks/results/video.json", metavar="OUT")
    options = parser.parse_args(argv)
    given = shlex.split(options.arguments)
    content = {
        "command": shlex.join(["python", "-m", "benchmarks.clip_check", *(sys.argv[1:] if argv is None else argv)]),
        "machine": {"cpus": os.cpu_count(), "load": round(os.getloadavg()[0], 2)},
        "clips": [clip(options.seconds, faces, given) for faces in options.faces],
        "steadiness": steadiness(),
        "soak": soak(options.frames),
    }
    text = json.dumps(content, indent=1) + "\n"
    Path(options.json).parent.mkdir(parents=True, exist_ok=True)
    Path(options.json).write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
