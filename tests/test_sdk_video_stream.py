"""Streams: order, back-pressure, dropping, failures of every stage, clean stops. The networks are stood in for."""

import threading
import time

import numpy as np
import pytest

from sdk.errors import DetectorError, InputError, StreamError
from sdk.result import FaceResult, FaceStatus
from sdk.video.following import FollowRule
from sdk.video.frames import ArraySource, Source, VideoFrame
from sdk.video.stream import FaceStream, StreamOptions

PLAIN = FollowRule(smoothing=None, steadiness=None)


class Marking:
    """Stands in for FaceEnhancer: finds one face, marks the frame, fails where told."""

    def __init__(self, *, fail_at=None, fail_in="", error=None, slow=None):
        self.fail_at, self.fail_in, self.error, self.slow = fail_at, fail_in, error, slow or {}
        self.seen = {"detect": [], "enhance": [], "render": []}

    def _at(self, stage, frame):
        number = int(frame[0, 0, 0])
        self.seen[stage].append(number)
        time.sleep(self.slow.get(stage, 0.0))
        if stage == self.fail_in and number == self.fail_at:
            raise self.error or RuntimeError("boom")

    def detect(self, frame):
        self._at("detect", frame)
        return np.array([[2.0, 2.0, 12.0, 14.0]])

    def enhance(self, frame, boxes=None, *, box_kind="face"):
        self._at("enhance", frame)
        window = np.array([0.0, 0.0, 16.0, 16.0])
        affine = np.array([[1.0, 0, 0], [0, 1.0, 0]])
        points = np.random.default_rng(0).uniform(4, 12, (68, 2)).astype(np.float32)
        return [
            FaceResult(np.zeros((16, 16, 3), np.uint8), points, np.ones(68, np.float32), np.ones(68, np.float32),
                       np.asarray(box, float), window, affine, FaceStatus.OK, "", "none", 1.0)
            for box in boxes
        ]  # fmt: skip

    def render(self, frame, results, *, strength=1.0):
        self._at("render", frame)
        painted = frame.copy()
        painted[1, 1] = len(results)
        return painted


def numbered(count, *, pause=0.0):
    for number in range(count):
        time.sleep(pause)
        yield np.full((20, 24, 3), number % 256, np.uint8)


def threads_of_streams():
    return [t for t in threading.enumerate() if t.name.startswith("facetrt-")]


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    deadline = time.monotonic() + 5
    while threads_of_streams() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads_of_streams() == []


def test_every_frame_comes_out_in_order_with_its_face_and_time():
    enhancer = Marking()
    with FaceStream(enhancer, numbered(40), StreamOptions(fps=25.0)) as stream:
        results = list(stream)
    assert [r.frame.index for r in results] == list(range(40))
    assert [r.frame.time_s for r in results] == pytest.approx([i / 25.0 for i in range(40)])
    assert all(r.picture[1, 1, 0] == 1 and len(r.faces) == 1 and r.dropped == 0 for r in results)
    assert {r.faces[0].identity for r in results} == {0}
    counts = stream.counts
    assert (counts.read, counts.given, counts.dropped, counts.faces) == (40, 40, 0, 40)
    assert set(counts.seconds) == {"read", "detect", "enhance", "paste"}


def test_the_detector_looks_at_every_nth_frame():
    enhancer = Marking()
    list(FaceStream(enhancer, numbered(20), StreamOptions(detect_every=5)))
    assert enhancer.seen["detect"] == [0, 5, 10, 15]
    assert enhancer.seen["enhance"] == list(range(20))


def test_stages_overlap():
    slow = {"detect": 0.02, "enhance": 0.02, "render": 0.02}
    begun = time.monotonic()
    list(FaceStream(Marking(slow=slow), numbered(25)))
    assert time.monotonic() - begun < 25 * 0.06 * 0.75  # one after the other it would be all of it


def test_a_slow_consumer_slows_the_source_down():
    taken = []
    source = (taken.append(i) or frame for i, frame in enumerate(numbered(60)))
    for result in FaceStream(Marking(), source, StreamOptions(queue=2)):
        time.sleep(0.005)
        assert len(taken) <= result.frame.index + 1 + 4 * 2 + 5  # queues, and one in each stage's hands


def test_the_latest_policy_drops_old_frames_counts_them_and_keeps_order():
    enhancer = Marking(slow={"enhance": 0.02})
    stream = FaceStream(enhancer, numbered(60, pause=0.004), StreamOptions(policy="latest", queue=1))
    results = list(stream)
    numbers = [r.frame.index for r in results]
    assert numbers == sorted(set(numbers)) and len(numbers) < 60
    assert stream.counts.dropped_full == 60 - len(numbers) == stream.counts.dropped
    assert sum(r.dropped for r in results) <= stream.counts.dropped
    assert numbers[-1] >= 55  # what is newest gets through


def test_frames_that_wait_too_long_are_dropped_and_counted():
    enhancer = Marking(slow={"enhance": 0.03})
    options = StreamOptions(max_delay_s=0.05, queue=3)
    stream = FaceStream(enhancer, numbered(30), options)
    results = list(stream)
    assert 0 < stream.counts.dropped_late == 30 - len(results)
    assert stream.counts.read == 30


@pytest.mark.parametrize("stage", ["detect", "enhance", "render"])
def test_a_failing_stage_is_named_and_frames_before_it_are_given(stage):
    enhancer = Marking(fail_at=7, fail_in=stage)
    given = []
    with pytest.raises(StreamError, match="boom") as caught:
        for result in FaceStream(enhancer, numbered(200)):
            given.append(result.frame.index)
    assert caught.value.stage == {"render": "paste"}.get(stage, stage)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert given == list(range(7))


def test_our_own_errors_keep_their_three_parts():
    error = DetectorError("boxes", "nonsense", "mend it")
    with pytest.raises(StreamError, match="nonsense.*detect.*mend it"):
        list(FaceStream(Marking(fail_at=2, fail_in="detect", error=error), numbered(5)))


def test_a_failing_source_is_named():
    def broken():
        yield from numbered(3)
        raise OSError("the cable is out")

    given = []
    with pytest.raises(StreamError, match="cable is out") as caught:
        for result in FaceStream(Marking(), broken()):
            given.append(result.frame.index)
    assert caught.value.stage == "read" and given == [0, 1, 2]


def test_leaving_the_loop_stops_everything_and_closes_the_source():
    taken = []
    source = (taken.append(i) or frame for i, frame in enumerate(numbered(10_000)))
    for result in FaceStream(Marking(), source):
        if result.frame.index == 5:
            break
    assert len(taken) < 100


def test_close_ends_a_stream_whose_source_waits():
    release = threading.Event()

    class Waiting(Source):
        def __iter__(self):
            yield VideoFrame(np.zeros((20, 24, 3), np.uint8), 0, 0.0)
            release.wait(20)

        def close(self):
            release.set()

    stream = FaceStream(Marking(), Waiting())
    results = iter(stream)
    next(results)
    begun = time.monotonic()
    stream.close()
    assert list(results) == [] and time.monotonic() - begun < 5


def test_a_stream_is_read_once():
    stream = FaceStream(Marking(), numbered(2))
    list(stream)
    with pytest.raises(InputError, match="new one"):
        list(stream)


def test_an_empty_source_gives_nothing():
    assert list(FaceStream(Marking(), [])) == []


def test_times_of_the_source_are_kept():
    pairs = [(np.zeros((20, 24, 3), np.uint8), t) for t in (0.0, 0.5, 0.51)]
    assert [r.frame.time_s for r in FaceStream(Marking(), pairs)] == [0.0, 0.5, 0.51]


def test_without_rendering_the_frame_is_given_as_it_is():
    (result,) = FaceStream(Marking(), numbered(1), StreamOptions(render=False))
    assert result.picture is result.frame.pixels


@pytest.mark.parametrize(
    "bad", [{"detect_every": 0}, {"queue": 1.5}, {"policy": "some"}, {"max_delay_s": 0.0}, {"detect_every": True}]
)
def test_bad_options_are_refused(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        StreamOptions(**bad)


def test_bad_sources_are_refused():
    for bad in (7, "camera.mp4"):
        with pytest.raises(InputError, match="open_source"):
            FaceStream(Marking(), bad)
    with pytest.raises(InputError, match="fps"):
        ArraySource([], fps=0.0)


def test_memory_stays_flat_over_many_frames():
    import resource

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    frames = (np.zeros((240, 320, 3), np.uint8) for _ in range(3000))
    before = None
    for result in FaceStream(Marking(), frames, StreamOptions(follow=PLAIN)):
        if result.frame.index == 500:
            before = peak()
    assert before is not None and peak() - before < 4096  # KiB; 2,500 frames would be 560,000
