"""The test clip and what is measured on it."""

import numpy as np
import pytest

from benchmarks.clip_check import clip, moments, soak, steadiness
from benchmarks.clip_scene import Scene, walkers, write_clip
from sdk.enhancer import FaceEnhancer
from sdk.result import FaceStatus

pytest.importorskip("av")


def test_faces_are_where_the_scene_says():
    scene = Scene(walkers(3), (360, 640))
    with FaceEnhancer(threads=1, color="rgb") as enhancer:
        for index in (1, 60):
            boxes = scene.boxes(index / 25)
            results = enhancer.enhance(scene.frame(index, 25), boxes)
            for box, result in zip(boxes, results, strict=True):
                assert result.status in (FaceStatus.OK, FaceStatus.TOO_SMALL), result.reason
                middle = result.landmarks.mean(axis=0)
                assert np.abs(middle - 0.5 * (box[:2] + box[2:])).max() < 0.25 * (box[2] - box[0])
    widths = np.diff(scene.boxes(0.0)[:, [0, 2]], axis=1)
    assert widths.min() == pytest.approx(14.0)


def test_flashes_and_clicks_come_once_a_second_and_together(tmp_path):
    write_clip(tmp_path / "a.mp4", seconds=3, fps=25, size_hw=(96, 128), faces=1)
    frames, flashes, clicks = moments(tmp_path / "a.mp4")
    assert frames == 75
    assert flashes == pytest.approx([0.0, 1.0, 2.0], abs=1e-3)
    assert clicks == pytest.approx([0.0, 1.0, 2.0], abs=0.01)


def test_a_shifted_sound_is_noticed(tmp_path):
    import av

    write_clip(tmp_path / "a.mp4", seconds=2, fps=25, size_hw=(96, 128), faces=1)
    with av.open(str(tmp_path / "a.mp4")) as given, av.open(str(tmp_path / "b.mkv"), "w") as out:
        copies = {stream.index: out.add_stream_from_template(stream) for stream in given.streams}
        for packet in given.demux():
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                late = round(0.3 / packet.time_base)
                packet.pts, packet.dts = packet.pts + late, packet.dts + late
            packet.stream = copies[packet.stream.index]
            out.mux(packet)
    _, flashes, clicks = moments(tmp_path / "b.mkv")
    assert np.array(clicks) - np.array(flashes) == pytest.approx(0.3, abs=0.05)


def test_a_short_clip_goes_through_the_command():
    found = clip(1, 1, ["--detect-every", "10", "--threads", "1"])
    assert found["frames_in"] == found["frames_out"] == 25
    assert found["clicks"] == [1, 1] and found["largest_gap_s"] <= found["frame_s"]


def test_the_stream_is_steadier_than_single_frames():
    found = steadiness()
    assert found["jitter_ratio"] >= 3.0
    assert found["flicker_stream_db"] > found["flicker_single_db"] + 2.0


def test_a_short_soak_keeps_memory_files_and_threads():
    found = soak(4000)
    assert found["given"] == 4000 and found["dropped"] == 0 and found["drift_s"] < 1e-6
    assert found["end"]["memory_mib"] - found["early"]["memory_mib"] < 3.0
    assert found["end"]["files"] <= found["early"]["files"]
