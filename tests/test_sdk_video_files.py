"""Video files: times, sound, colours, turned and odd pictures, broken packets, kills. Checked with FFmpeg itself."""

import subprocess
import sys
import textwrap
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sdk.errors import InputError, OutputError
from sdk.video.files import VideoFile
from sdk.video.writing import VideoWriter

av = pytest.importorskip("av")


def make_clip(path, *, count=30, size=(64, 48), times=None, sound=True, tags=None, level=lambda i: 8 * (i % 30)):
    """A clip of flat frames by PyAV alone; times in units of 1/1000 s."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "10"})
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        for name, value in (tags or {}).items():
            setattr(video.codec_context, name, value)
        audio = out.add_stream("aac", rate=16000, layout="mono") if sound else None
        for index in range(count):
            pixels = np.full((size[1], size[0], 3), level(index), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = (times[index] if times else 40 * index), Fraction(1, 1000)
            out.mux(video.encode(frame))
            if audio is not None:
                wave = (8000 * np.sin(np.arange(640) * 0.2)).astype(np.int16)[None]
                samples = av.AudioFrame.from_ndarray(wave, format="s16", layout="mono")
                samples.sample_rate, samples.pts = 16000, 640 * index
                out.mux(audio.encode(samples))
        out.mux(video.encode(None))
        if audio is not None:
            out.mux(audio.encode(None))
    return path


def sound_of(path):
    """(time, size) of every packet of sound."""
    with av.open(str(path)) as clip:
        packets = clip.demux(clip.streams.audio[0])
        return [(round(float(p.pts * p.time_base), 4), p.size) for p in packets if p.dts is not None and p.size]


def copy(source, target, **options):
    with VideoFile(source, **options) as clip, VideoWriter(target, like=clip, **options) as out:
        for frame in clip:
            out.write(frame.pixels, frame.time_s)


def test_frames_times_and_description_are_the_file_s(tmp_path):
    clip = VideoFile(make_clip(tmp_path / "a.mp4"))
    assert (clip.width, clip.height, clip.frames, clip.has_audio) == (64, 48, 30, True)
    assert clip.fps == pytest.approx(25.0) and clip.duration_s == pytest.approx(1.2, abs=0.1)
    frames = list(clip)
    assert [f.time_s for f in frames] == pytest.approx([0.04 * i for i in range(30)])
    assert [f.pixels.mean() for f in frames] == pytest.approx([8 * i for i in range(30)], abs=2.0)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_a_copy_has_the_same_frames_times_and_sound(tmp_path, suffix):
    source, target = make_clip(tmp_path / "a.mp4"), tmp_path / f"b{suffix}"
    copy(source, target)
    before, after = list(VideoFile(source)), list(VideoFile(target))
    heard, expected = sound_of(target), sound_of(source)
    # Matroska has no times below 0: there all moves by the encoder delay of the sound, pictures too.
    moved = after[0].time_s - before[0].time_s
    assert 0.0 <= moved < 0.1 and (suffix == ".mkv" or moved == 0.0)
    assert [f.time_s - moved for f in after] == pytest.approx([f.time_s for f in before], abs=0.001)
    assert [f.pixels.mean() for f in after] == pytest.approx([f.pixels.mean() for f in before], abs=2.0)
    assert [size for _, size in heard] == [size for _, size in expected]
    assert np.array(heard)[:, 0] - moved == pytest.approx(np.array(expected)[:, 0], abs=0.002)
    assert not list(tmp_path.glob("*.part.*"))


def test_a_variable_rate_is_kept(tmp_path):
    times = [0, 40, 45, 300, 900, 905, 1400]
    copy(make_clip(tmp_path / "a.mp4", count=7, times=times, sound=False), tmp_path / "b.mp4")
    assert [f.time_s for f in VideoFile(tmp_path / "b.mp4")] == pytest.approx([t / 1000 for t in times], abs=0.001)


@pytest.mark.parametrize("matrix", [1, 5])
def test_colours_survive_with_their_tags(tmp_path, matrix):
    rng = np.random.default_rng(0)
    colours = np.repeat(np.repeat(rng.integers(40, 215, (3, 4, 3), dtype=np.uint8), 16, 0), 16, 1)
    source = tmp_path / "a.mp4"
    tags = {"colorspace": matrix, "color_primaries": matrix, "color_trc": 1}
    make_clip(source, tags=tags, level=lambda i: colours, count=5)
    copy(source, tmp_path / "b.mp4")
    with av.open(str(tmp_path / "b.mp4")) as clip:
        assert int(clip.streams.video[0].codec_context.colorspace) == matrix
    before, after = (next(iter(VideoFile(path))).pixels.astype(float) for path in (source, tmp_path / "b.mp4"))
    inside = (slice(4, 12), slice(4, 12))
    assert np.abs(before[inside] - after[inside]).max() <= 4.0


def test_a_turned_picture_is_turned(tmp_path):
    source = tmp_path / "a.mp4"
    ramp = np.repeat(np.linspace(20, 230, 64).astype(np.uint8)[None, :, None], 48, 0).repeat(3, 2)
    make_clip(source, level=lambda i: ramp, count=3, sound=False)
    with av.open(str(source)) as given, av.open(str(tmp_path / "turned.mp4"), "w") as out:
        track = given.streams.video[0]
        copied = out.add_stream_from_template(track)
        if not hasattr(copied, "set_display_rotation"):
            pytest.skip("this PyAV cannot write a rotation; read back below where it can")
        copied.set_display_rotation(90)
        for packet in given.demux(track):
            if packet.dts is not None:
                packet.stream = copied
                out.mux(packet)
    (first, *_) = list(VideoFile(tmp_path / "turned.mp4"))
    assert first.pixels.shape == (64, 48, 3)


def test_the_order_of_channels_is_the_caller_s(tmp_path):
    red = np.zeros((48, 64, 3), np.uint8)
    red[..., 0] = 200
    make_clip(tmp_path / "a.mp4", level=lambda i: red, count=2, sound=False)
    rgb, bgr = (next(iter(VideoFile(tmp_path / "a.mp4", color=c))).pixels.mean((0, 1)) for c in ("rgb", "bgr"))
    assert rgb == pytest.approx(bgr[::-1], abs=1e-6) and rgb[0] > 180 and bgr[2] > 180


def test_odd_sizes_and_a_change_of_size(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=25) as out:
        for index, size in enumerate([(47, 63), (47, 63), (96, 128)]):
            out.write(np.full((*size, 3), 90, np.uint8), index / 25)
    frames = list(VideoFile(tmp_path / "a.mp4"))
    assert {f.pixels.shape for f in frames} == {(48, 64, 3)} and len(frames) == 3


def test_broken_packets_are_skipped_and_counted(tmp_path):
    source = make_clip(tmp_path / "a.mkv", count=120, sound=False)
    data = bytearray(source.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    source.write_bytes(bytes(data))
    clip = VideoFile(source)
    assert 30 <= len(list(clip)) <= 120


@pytest.mark.parametrize(
    "name,content", [("text.mp4", b"hello " * 500), ("empty.mp4", b""), ("zeros.mkv", bytes(5000))]
)
def test_what_is_no_video_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="expected a video.*got.*; "):
        VideoFile(tmp_path / name)


def test_sound_alone_a_missing_file_and_a_foreign_suffix_are_refused(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w") as out:
        audio = out.add_stream("aac", rate=16000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        samples.sample_rate, samples.pts = 16000, 0
        out.mux(audio.encode(samples))
        out.mux(audio.encode(None))
    with pytest.raises(InputError, match="audio alone"):
        VideoFile(tmp_path / "a.m4a")
    with pytest.raises(InputError, match="no file"):
        VideoFile(tmp_path / "none.mp4")
    with pytest.raises(InputError, match=r"\.mp4"):
        VideoWriter(tmp_path / "b.txt")


def test_nothing_written_leaves_nothing(tmp_path):
    VideoWriter(tmp_path / "a.mp4").close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="expected to write"):
        VideoWriter(tmp_path / "file" / "a.mp4")


def test_frames_that_are_no_pictures_are_refused_and_the_part_stays(tmp_path):
    with pytest.raises(InputError, match="uint8"), VideoWriter(tmp_path / "a.mp4") as out:
        out.write(np.zeros((20, 20, 3), np.uint8), 0.0)
        out.write(np.zeros((20, 20)), 0.1)
    assert [p.name for p in tmp_path.iterdir()] == ["a.part.mp4"]
    assert len(list(VideoFile(tmp_path / "a.part.mp4"))) == 1


def test_a_killed_writer_leaves_a_file_that_plays(tmp_path):
    program = textwrap.dedent(f"""
        import os, signal, sys
        import numpy as np
        from sdk.video.writing import VideoWriter
        out = VideoWriter({str(tmp_path / "a.mp4")!r}, fps=25)
        rng = np.random.default_rng(0)
        for index in range(400):
            out.write(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8), index / 25)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    root = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", program], cwd=root).returncode == -9
    frames = list(VideoFile(tmp_path / "a.part.mp4"))
    assert len(frames) >= 250 and not (tmp_path / "a.mp4").exists()
