"""A clip in, a clip out: frames, times, sound, JSON lines, views; one face in the picture, the shipped networks."""

import contextlib
import io
import json

import numpy as np
import pytest
from clips import frame_with
from test_sdk_video_files import make_clip, sound_of

from sdk.cli import main
from sdk.enhancer import FaceEnhancer
from sdk.errors import InputError, OutputError, StreamError
from sdk.video.clip import ClipOptions, enhance_clip
from sdk.video.files import VideoFile
from sdk.video.following import TrackedFace
from sdk.video.stream import StreamOptions
from sdk.video.views import VIEWS, view

PLACES = [[(120 + 3 * i, 120, 22)] for i in range(12)]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "in.mp4"
    frames = [frame_with(places)[0][..., ::-1] for places in PLACES]
    return make_clip(path, count=len(frames), size=(320, 240), level=lambda i: frames[i])


@pytest.fixture(scope="module")
def enhancer():
    def known(frame):  # the detector is not what is tested here
        return frame_with(PLACES[0])[1]

    with FaceEnhancer(threads=1, detector=known) as opened:
        yield opened


OPTIONS = ClipOptions(stream=StreamOptions(detect_every=100))


def test_a_clip_comes_back_with_its_frames_its_sound_and_a_sharper_face(clip, enhancer, tmp_path):
    lines, said = io.StringIO(), []
    target = tmp_path / "out.mp4"
    summary = enhance_clip(clip, target, enhancer, color="bgr", options=OPTIONS, lines=lines, progress=said.append)
    before, after = list(VideoFile(clip)), list(VideoFile(target))
    assert [f.time_s for f in after] == pytest.approx([f.time_s for f in before], abs=0.001)
    assert [size for _, size in sound_of(target)] == [size for _, size in sound_of(clip)]
    records = [json.loads(line) for line in lines.getvalue().splitlines()]
    assert [record["frame"] for record in records] == list(range(12))
    assert all(record["faces"][0]["identity"] == 0 for record in records)
    assert np.array(records[5]["faces"][0]["landmarks_px"]).mean(axis=0) == pytest.approx([135, 122], abs=6)
    assert (summary.counts.given, summary.counts.faces, summary.counts.dropped) == (12, 12, 0)
    assert "12 frames with 12 faces" in summary.text()
    x, y = 120 + 3 * 5, 120
    face, corner = (slice(y - 12, y + 12), slice(x - 10, x + 10)), (slice(0, 40), slice(0, 40))
    changed = np.abs(after[5].pixels.astype(float) - before[5].pixels)
    assert changed[face].mean() > 1.7 * changed[corner].mean()


def test_side_by_side_is_twice_as_wide_and_its_left_half_is_the_source(clip, enhancer, tmp_path):
    options = ClipOptions(stream=OPTIONS.stream, view="side-by-side")
    enhance_clip(clip, tmp_path / "out.mp4", enhancer, color="bgr", options=options)
    before, after = next(iter(VideoFile(clip))).pixels, next(iter(VideoFile(tmp_path / "out.mp4"))).pixels
    assert after.shape == (240, 640, 3)
    assert np.abs(after[:, :320].astype(float) - before).mean() < 3.0


@pytest.mark.parametrize("name", VIEWS)
def test_views_leave_their_inputs_alone_and_show_something(name, enhancer):
    frame, boxes = frame_with([(120, 120, 30)])
    faces = [TrackedFace(0, result) for result in enhancer.enhance(frame, boxes)]
    picture = enhancer.render(frame, [face.result for face in faces])
    kept = frame.copy(), picture.copy()
    shown = view(name, frame, picture, faces)
    assert (frame == kept[0]).all() and (picture == kept[1]).all()
    if name == "picture-in-picture":  # the corner away from the face: before and after, blown up
        inset = shown[-72:, -144:].astype(float)
        assert np.abs(inset[:, :72] - inset[:, 72:]).mean() < 25 and (inset != picture[-72:, -144:]).mean() > 0.5
    if name == "overlay":
        x, y = np.rint(faces[0].result.landmarks[30]).astype(int)
        assert shown[y, x].min() > 200
    nothing = view(name, frame, picture, [])
    assert nothing.shape[0] == 240


def test_unknown_views_are_refused():
    with pytest.raises(InputError, match="view"):
        ClipOptions(view="upside-down")


def test_the_input_is_never_overwritten(clip, enhancer):
    with pytest.raises(OutputError, match="twice"):
        enhance_clip(clip, clip, enhancer, color="bgr")


def test_a_failure_leaves_what_was_done(clip, tmp_path):
    calls = []

    def failing(frame):
        calls.append(1)
        if len(calls) > 8:
            raise RuntimeError("the detector died")
        return np.zeros((0, 4))

    with FaceEnhancer(threads=1, detector=failing) as broken, pytest.raises(StreamError, match="detector died"):
        enhance_clip(clip, tmp_path / "out.mp4", broken, color="bgr")
    assert not (tmp_path / "out.mp4").exists()
    assert len(list(VideoFile(tmp_path / "out.part.mp4"))) == 8


def command(*arguments) -> tuple[int, str]:
    """face-enhance in this process: exit code and what it said."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as error:
            code = int(error.code or 0)
    return code, said.getvalue()


def test_the_command_makes_a_video_of_a_video_and_does_not_do_it_twice(clip, tmp_path):
    target, report = tmp_path / "out.mp4", tmp_path / "faces.jsonl"
    code, said = command(clip, target, "--threads", 1, "--view", "overlay", f"--json={report}")
    assert code == 0 and "12 frames" in said and len(list(VideoFile(target))) == 12
    assert len(report.read_text().splitlines()) == 12
    before = target.stat().st_mtime_ns
    code, said = command(clip, target)
    assert code == 0 and "--force" in said and target.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "arguments,reason",
    [
        (["--max-faces", "0"], "max-faces"),
        (["--fps", "0"], "fps"),
        (["--aligned"], "--aligned"),
        (["--detect-every", "0"], "detect_every"),
        (["--strength", "2"], "strength"),
    ],
)
def test_wrong_options_of_the_command(clip, tmp_path, arguments, reason):
    code, said = command(clip, tmp_path / "out.mp4", *arguments)
    assert code == 2 and reason in said and list(tmp_path.iterdir()) == []


def test_wrong_files_of_the_command(clip, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    for given, out, reason in [
        (tmp_path / "none.mp4", "a.mp4", "no file"),
        (tmp_path / "text.mp4", "a.mp4", "FFmpeg"),
        (clip, "a.txt", "ends in"),
    ]:
        code, said = command(given, tmp_path / out, "--threads", 1)
        assert code == 2 and reason in said, said
    code, said = command(clip)
    assert code == 2 and "IN OUT" in said


def test_the_enhancer_streams_any_frames(enhancer):
    frames = [frame_with(places)[0] for places in PLACES[:4]]
    with enhancer.stream(frames, OPTIONS.stream) as stream:
        assert [face.identity for result in stream for face in result.faces] == [0] * 4
