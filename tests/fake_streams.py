"""Streams, events and graphs of the fake driver: queues of functions that run when somebody waits."""

import collections
import enum
import threading

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
    CUDA_ERROR_NOT_FOUND=500,
    CUDA_ERROR_NOT_READY=600,
    CUDA_ERROR_ILLEGAL_ADDRESS=700,
    CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES=701,
    CUDA_ERROR_LAUNCH_FAILED=719,
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED=900,
    CUDA_ERROR_STREAM_CAPTURE_INVALIDATED=901,
)
CUresult = enum.IntEnum("CUresult", STATUSES)
BAD_HANDLE = CUresult.CUDA_ERROR_INVALID_HANDLE


class Failed(Exception):  # noqa: N818 (a status on its way out)
    def __init__(self, status):
        self.status = CUresult[status] if isinstance(status, str) else CUresult(status)


class Stream:
    """A queue, and what is being captured from it, if anything."""

    def __init__(self):
        self.queue, self.captured, self.spoilt, self.capturer = collections.deque(), None, False, None

    def drain(self, until=lambda: False):
        while self.queue and not until():
            self.queue.popleft()()


class Streams:
    """The part of FakeCuda that orders work."""

    def __init__(self):
        self.streams = {1: Stream()}  # handle 1: the legacy default stream
        self.events, self.graphs, self.executables = {}, {}, {}
        self.problems = []
        self._next = 1000

    def launch(self, stream, work):
        """Put a function on a stream, or into the graph being captured from it."""
        target = self.stream(stream)
        (target.queue if target.captured is None else target.captured).append(work)

    def capturing(self, stream):
        return self.stream(stream).captured is not None

    def stream(self, handle):
        if handle not in self.streams:
            self.problems.append(f"a stream {handle} that is not there")
            raise Failed(BAD_HANDLE)
        return self.streams[handle]

    def drop(self, table, handle, what):
        if handle not in table:
            self.problems.append(f"{what} {handle} freed twice, or never made")
            raise Failed(BAD_HANDLE)
        return table.pop(handle)

    def refuse_while_capturing(self):
        """As thread-local capture does: allocating and waiting spoil the capture of the same thread."""
        for stream in self.streams.values():
            if stream.capturer == threading.get_ident():
                stream.spoilt = True
                raise Failed("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")

    def handle(self):
        self._next += 1
        return self._next

    def do_stream_create(self, flags):
        handle = self.handle()
        self.streams[handle] = Stream()
        return handle

    def do_stream_destroy(self, handle):
        self.drop(self.streams, handle, "stream").drain()

    def do_stream_synchronize(self, handle):
        self.refuse_while_capturing()
        self.stream(handle).drain()

    def do_event_create(self, flags):
        handle = self.handle()
        self.events[handle] = {"done": True, "stream": Stream()}
        return handle

    def do_event_destroy(self, handle):
        self.drop(self.events, handle, "event")

    def do_event_record(self, handle, stream):
        event = self.events[handle]
        event.update(done=False, stream=self.stream(stream))
        self.launch(stream, lambda: event.update(done=True))

    def do_event_query(self, handle):
        if not self.events[handle]["done"]:
            raise Failed("CUDA_ERROR_NOT_READY")

    def do_event_synchronize(self, handle):
        event = self.events[handle]
        event["stream"].drain(lambda: event["done"])

    def do_stream_wait_event(self, stream, handle, flags):
        event = self.events[handle]
        self.launch(stream, lambda: event["stream"].drain(lambda: event["done"]))

    def do_stream_begin_capture(self, handle, mode):
        stream = self.stream(handle)
        stream.captured, stream.spoilt, stream.capturer = [], False, threading.get_ident()

    def do_stream_end_capture(self, handle):
        stream = self.stream(handle)
        captured, spoilt = stream.captured, stream.spoilt
        stream.captured, stream.spoilt, stream.capturer = None, False, None
        if spoilt:
            raise Failed("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
        graph = self.handle()
        self.graphs[graph] = captured
        return graph

    def do_graph_get_nodes(self, graph):
        return [], len(self.graphs[graph])

    def do_graph_instantiate(self, graph, flags):
        executable = self.handle()
        self.executables[executable] = list(self.graphs[graph])
        return executable

    def do_graph_launch(self, executable, stream):
        if executable not in self.executables:
            self.problems.append("a graph launched after it was destroyed")
            raise Failed(BAD_HANDLE)
        for work in self.executables[executable]:
            self.launch(stream, work)

    def do_graph_destroy(self, graph):
        self.drop(self.graphs, graph, "graph")

    def do_graph_exec_destroy(self, executable):
        self.drop(self.executables, executable, "graph executable")
