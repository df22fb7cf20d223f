"""Captures and graphs of the fake driver, by CUDA's rules for stream capture in thread-local mode.

While a thread captures: no waiting, no query, no allocating, freeing or loading of code by that thread, not even of a
kernel by its first launch (UNSUPPORTED, and the capture is spoilt); no waiting for work that is not in the graph
(ISOLATION); a stream that waits for an event of the capture takes part in it and has to be waited for in turn
(UNJOINED); a spoilt capture takes nothing more (INVALIDATED) until it is ended, by the thread that began it
(WRONG_THREAD), and gives no graph.

A graph runs its nodes in the order of their capture. Nodes hold the addresses that they were captured with: whatever
was freed since is found when they run. Arguments of kernels may be changed in an executable graph as long as the graph
that it was made from is there; launches that are on a stream already keep theirs.
"""

import copy
import ctypes
import dataclasses
import enum
import threading
import types
from collections.abc import Callable

from fake_streams import BAD_HANDLE, Failed

KINDS = {"kernel": 0, "memcpy": 1, "memset": 2}  # CUgraphNodeType


@dataclasses.dataclass
class Node:
    work: Callable[[], None]
    kind: str = "kernel"
    function: int = 0  # of our kernels; 0: one of a library, which shows none
    grid: tuple = ()
    block: tuple = ()


class Capture:
    """What is being recorded, from one stream or several."""

    def __init__(self, origin):
        self.origin, self.thread = origin, threading.get_ident()
        self.nodes, self.spoilt = [], False
        self.ahead = {origin: 0}  # streams that take part -> nodes that the origin does not wait for yet

    def add(self, stream, work, **what):
        if self.spoilt:
            raise Failed("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
        self.nodes.append(Node(work, **what))
        self.ahead[stream] += stream is not self.origin

    def spoil(self, status):
        self.spoilt = True
        raise Failed(status)

    def mark(self, stream):
        return self, stream, len(self.nodes)

    def joined_by(self, stream, mark):
        if stream.capture is not None and stream.capture is not self:
            stream.capture.spoil("CUDA_ERROR_STREAM_CAPTURE_ISOLATION")
        if stream.capture is None:
            stream.capture = self
            self.ahead.setdefault(stream, 1)  # a fork has to be joined, even an empty one
        elif stream is self.origin and mark[2] == len(self.nodes):
            self.ahead[mark[1]] = 0


class Graphs:
    """The part of FakeCuda that records and replays."""

    CUgraphNodeType = enum.IntEnum("CUgraphNodeType", {"CU_GRAPH_NODE_TYPE_KERNEL": 0})
    CUDA_KERNEL_NODE_PARAMS = types.SimpleNamespace  # fields are set by name

    def __init__(self):
        self.graphs, self.executables = {}, {}  # handle -> {handle of node: Node}; the same, and the graph's handle
        self.edits = 0

    def refuse_while_capturing(self, *streams):
        for stream in list(self.streams.values()):
            capture = stream.capture
            if capture is not None and (capture.thread == threading.get_ident() or stream in streams):
                capture.spoil("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")

    def do_stream_begin_capture(self, handle, mode):
        stream = self.stream(handle)
        if handle == 1:
            raise Failed("CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED")
        if stream.capture is not None:
            raise Failed("CUDA_ERROR_ILLEGAL_STATE")
        stream.capture = Capture(stream)

    def do_stream_end_capture(self, handle):
        stream = self.stream(handle)
        capture = stream.capture
        if capture is None:
            raise Failed("CUDA_ERROR_ILLEGAL_STATE")
        if capture.origin is not stream:
            raise Failed("CUDA_ERROR_STREAM_CAPTURE_UNMATCHED")
        if capture.thread != threading.get_ident():
            raise Failed("CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD")
        for one in capture.ahead:
            one.capture = None
        if capture.spoilt:
            raise Failed("CUDA_ERROR_STREAM_CAPTURE_INVALIDATED")
        if any(capture.ahead.values()):
            raise Failed("CUDA_ERROR_STREAM_CAPTURE_UNJOINED")
        graph = self.handle()
        self.graphs[graph] = {self.handle(): node for node in capture.nodes}
        return graph

    def do_graph_get_nodes(self, graph, count=0):
        nodes = list(self.table(self.graphs, graph, "a graph"))
        return nodes[:count], len(nodes) if count == 0 else min(count, len(nodes))

    def node(self, handle):
        for nodes in self.graphs.values():
            if handle in nodes:
                return nodes[handle]
        self.problems.append("a node of a graph that was destroyed")
        raise Failed(BAD_HANDLE)

    def table(self, table, handle, what):
        if handle not in table:
            self.problems.append(f"{what} used after it was destroyed")
            raise Failed(BAD_HANDLE)
        return table[handle]

    def do_graph_node_get_type(self, node):
        return KINDS[self.node(node).kind]

    def do_graph_kernel_node_get_params(self, node):
        found = self.node(node)
        return types.SimpleNamespace(func=found.function)

    def do_graph_instantiate(self, graph, flags):
        executable = self.handle()
        nodes = self.table(self.graphs, graph, "a graph")
        self.executables[executable] = graph, {handle: copy.copy(node) for handle, node in nodes.items()}
        return executable

    def do_graph_exec_kernel_node_set_params(self, executable, handle, given):
        graph, nodes = self.table(self.executables, executable, "a graph executable")
        self.node(handle)  # also that its graph is still there
        if handle not in nodes or nodes[handle].kind != "kernel" or given.func not in self.functions:
            raise Failed("CUDA_ERROR_INVALID_VALUE")
        grid = given.gridDimX, given.gridDimY, given.gridDimZ
        block = given.blockDimX, given.blockDimY, given.blockDimZ
        work = self.kernel_work(given.func, grid, block, given.kernelParams)
        nodes[handle] = Node(work, function=given.func, grid=grid, block=block)
        self.edits += 1

    def do_graph_launch(self, executable, stream):
        _, nodes = self.table(self.executables, executable, "a graph executable")
        target = self.stream(stream)
        for node in nodes.values():
            if target.capture is None:
                target.queue.append(node.work)
            else:
                target.capture.add(target, node.work, kind=node.kind)

    def do_graph_destroy(self, graph):
        self.drop(self.graphs, graph, "graph")

    def do_graph_exec_destroy(self, executable):
        self.drop(self.executables, executable, "graph executable")


def struct_at(address, struct):
    """A copy of the one argument of a launch."""
    where = ctypes.c_void_p.from_address(address).value
    return struct.from_buffer_copy(ctypes.string_at(where, ctypes.sizeof(struct)))
