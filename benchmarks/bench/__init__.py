"""trt-bench: latency and throughput of face networks, with limits, rivals and conditions (docs/BENCH.md)."""
