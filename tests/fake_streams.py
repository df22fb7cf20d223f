"""Streams and events of the fake driver: queues of functions that run when somebody waits. Captures: fake_graphs."""

import collections
import enum

STATUSES = dict(
    CUDA_SUCCESS=0,
    CUDA_ERROR_INVALID_VALUE=1,
    CUDA_ERROR_OUT_OF_MEMORY=2,
    CUDA_ERROR_NOT_INITIALIZED=3,
    CUDA_ERROR_STUB_LIBRARY=34,
    CUDA_ERROR_NO_DEVICE=100,
    CUDA_ERROR_INVALID_DEVICE=101,
    CUDA_ERROR_INVALID_IMAGE=200,
    CUDA_ERROR_INVALID_CONTEXT=201,
    CUDA_ERROR_NO_BINARY_FOR_GPU=209,
    CUDA_ERROR_UNSUPPORTED_PTX_VERSION=222,
    CUDA_ERROR_INVALID_HANDLE=400,
    CUDA_ERROR_ILLEGAL_STATE=401,
    CUDA_ERROR_NOT_FOUND=500,
    CUDA_ERROR_NOT_READY=600,
    CUDA_ERROR_ILLEGAL_ADDRESS=700,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES=701,
    CUDA_ERROR_LAUNCH_FAILED=719,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED=900,
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED=901,
    CUDA_ERROR_STREAM_CAPTURE_UNMATCHED=903,
    CUDA_ERROR_STREAM_CAPTURE_UNJOINED=904,
    CUDA_ERROR_STREAM_CAPTURE_ISOLATION=905,
    CUDA_ERROR_CAPTURED_EVENT=907,
    CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD=908,
)
CUresult = enum.IntEnum("CUresult", STATUSES)
BAD_HANDLE = CUresult.CUDA_ERROR_INVALID_HANDLE


class Failed(Exception):  # noqa: N818 (a status on its way out)
    def __init__(self, status):
        self.status = CUresult[status] if isinstance(status, str) else CUresult(status)


class Stream:
    """A queue, and the capture that it takes part in, if any."""

    def __init__(self):
        self.queue, self.capture = collections.deque(), None

    def drain(self, until=lambda: False):
        while self.queue and not until():
            self.queue.popleft()()


class Streams:
    """The part of FakeCuda that orders work."""

    def __init__(self):
        self.streams = {1: Stream()}  # handle 1: the legacy default stream
        self.events = {}
        self.problems = []
        self._next = 1000

    def launch(self, stream, work, **what):
        """Put a function on a stream, or into the graph being captured; `what` it is: see fake_graphs.Node."""
        target = self.stream(stream)
        if target.capture is None:
            target.queue.append(work)
        else:
            target.capture.add(target, work, **what)

    def capturing(self, stream):
        return self.stream(stream).capture is not None

    def stream(self, handle):
        if handle not in self.streams:
            self.problems.append(f"a stream {handle} that is not there")
            raise Failed(BAD_HANDLE)
        return self.streams[handle]

    def event(self, handle):
        if handle not in self.events:
            self.problems.append(f"an event {handle} that is not there")
            raise Failed(BAD_HANDLE)
        return self.events[handle]

    def drop(self, table, handle, what):
        if handle not in table:
            self.problems.append(f"{what} {handle} freed twice, or never made")
            raise Failed(BAD_HANDLE)
        return table.pop(handle)

    def handle(self):
        self._next += 1
        return self._next

    def do_stream_create(self, flags):
        handle = self.handle()
        self.streams[handle] = Stream()
        return handle

    def do_stream_destroy(self, handle):
        stream = self.drop(self.streams, handle, "stream")
        if stream.capture is not None:
            self.problems.append(f"stream {handle} destroyed while it is captured")
        stream.drain()

    def do_stream_synchronize(self, handle):
        self.refuse_while_capturing(self.stream(handle))
        self.stream(handle).drain()

    def do_event_create(self, flags):
        handle = self.handle()
        self.events[handle] = {"done": True, "stream": Stream(), "mark": None}
        return handle

    def do_event_destroy(self, handle):
        self.drop(self.events, handle, "event")

    def do_event_record(self, handle, stream):
        event, target = self.event(handle), self.stream(stream)
        if target.capture is not None:
            event["mark"] = target.capture.mark(target)
            return
        event.update(done=False, stream=target, mark=None)
        self.launch(stream, lambda: event.update(done=True))

    def do_event_query(self, handle):
        self.refuse_while_capturing()
        if self.event(handle)["mark"]:
            raise Failed("CUDA_ERROR_CAPTURED_EVENT")
        if not self.event(handle)["done"]:
            raise Failed("CUDA_ERROR_NOT_READY")

    def do_event_synchronize(self, handle):
        self.refuse_while_capturing()
        event = self.event(handle)
        if event["mark"]:
            raise Failed("CUDA_ERROR_CAPTURED_EVENT")
        event["stream"].drain(lambda: event["done"])

    def do_stream_wait_event(self, stream, handle, flags):
        event, target = self.event(handle), self.stream(stream)
        if event["mark"]:
            event["mark"][0].joined_by(target, event["mark"])
        elif target.capture is not None:
            target.capture.spoil("CUDA_ERROR_STREAM_CAPTURE_ISOLATION")  # it would depend on work outside of the graph
        else:
            self.launch(stream, lambda: event["stream"].drain(lambda: event["done"]))
