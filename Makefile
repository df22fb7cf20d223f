# Every command works alone, in an empty clone, with Python 3.11 (or newer), git and make.
# The environment (.venv) is made on first use and kept; a second run starts at once.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo test check format eval eval-papers bench bench-gpu numbers gpu-check clean

# The first interpreter that runs and is new enough; choose another with: make PYTHON=/path/to/python ...
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python3.13; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
PY := .venv/bin/python
READY = @test -n "$(PYTHON)" || { echo "expected Python 3.11 or newer; none found; install one or: make PYTHON=/path/to/python $@" >&2; exit 1; }; \
	$(PYTHON) scripts/environment.py

# Arguments handed on, for example: make test ARGS="-k heatmap -x"
ARGS ?=

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## */\1|/p' Makefile | awk -F'|' '{ printf "make %-11s %s\n", $$1, $$2 }'

demo:  ## enhance sample photos, pictures in demo_out/
	$(READY) demo
	$(PY) -m sdk.demo -o demo_out $(ARGS)

# Each part in a process of its own. The kernels' tests, which run CUDA sources on the CPU, end in damaged memory when all
# of their files share one process (an exception out of nowhere, or a hang); no file alone, and no pair tried, shows it.
PARTS = tests/test_b*.py tests/test_e*.py $(sort $(wildcard tests/test_f*.py tests/test_k*.py)) tests/test_[lpr]*.py \
	tests/test_s*.py tests/test_t*.py
test:  ## the whole test suite
	$(READY) test
ifeq ($(strip $(ARGS)),)
	@set -f; status=0; for part in $(PARTS); do set +f; \
		echo "$(PY) -m pytest $$part"; $(PY) -m pytest $$part || status=1; \
	done; exit $$status
else
	$(PY) -m pytest $(ARGS)
endif

check:  ## lint, formatting, types, import arrows, numbers in the documents
	$(READY) check
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)
	$(PY) -m pytest tests/test_layering.py
	$(PY) -m benchmarks.report --check

# Archives are taken from $$FACETRT_CACHE (default ~/.cache/facetrt/packs) by name; the files' order is the tables' order.
EVALUATE = $(PY) -m training.evaluate
OUT = --json benchmarks/results/evaluation
eval:  ## the evaluation tables of the documents (needs the data archives)
	$(READY) test
	$(EVALUATE) bicubic --pack fsrnet_val_nc --split helen --protocol fsrnet --lr-files $(OUT)_10_bicubic_paper_files.json
	$(EVALUATE) picoface_x8 --pack fsrnet_val_nc --split helen --protocol fsrnet --lr-size 16 $(OUT)_11_fsrnet_helen.json
	$(EVALUATE) picoface_x8 --pack fsrnet_val_nc --split celeba --protocol fsrnet --lr-size 16 $(OUT)_12_fsrnet_celeba.json
	$(EVALUATE) picoface_x8 --pack faces_clean_ccby_pd --split val --lr-size 16 --degraded camera $(OUT)_13_degraded.json
	$(EVALUATE) picoface_x8 --pack faces_clean_ccby_pd --split val --lr-size 16 --degraded all $(OUT)_15_degraded_all.json
	$(EVALUATE) picoface_x4 --pack fsrnet_val_nc --split helen --protocol fsrnet --lr-size 32 $(OUT)_14_fsrnet_helen_x4.json
	$(EVALUATE) picoface_x8 --pack faces68_helen_nc --split test --lr-size 16 $(OUT)_20_helen_16.json
	$(EVALUATE) picoface_x4 --pack faces68_helen_nc --split test --lr-size 32 $(OUT)_21_helen_32.json
	$(EVALUATE) picoface_x4 --pack faces68_helen_nc --split test --lr-size 64 $(OUT)_22_helen_64.json
	$(EVALUATE) picoface_x8 --pack faces68_helen_nc --split test --lr-size 16 --jitter $(OUT)_23_helen_16_jitter.json
	$(EVALUATE) picoface_x4 --pack faces68_helen_nc --split test --lr-size 64 --jitter $(OUT)_24_helen_64_jitter.json
	$(EVALUATE) picoface_x8 --pack faces68_ytf_weak_nc --split val --lr-size 16 $(OUT)_25_video_frames_16.json
	$(EVALUATE) picoface_x4 --pack faces68_ytf_weak_nc --split val --lr-size 32 $(OUT)_26_video_frames_32.json
	$(EVALUATE) picoface_x4 --pack faces68_ytf_weak_nc --split val --lr-size 64 $(OUT)_27_video_frames_64.json
	$(PY) -m training.evaluate_boxes --pack demo_free --split demo --pack faces68_helen_nc --split val \
		--json benchmarks/results/boxes.json
	$(PY) -m export.measure --json benchmarks/results/precision.json
	$(PY) -m benchmarks.report --write

# Finished networks of training.train's --out folders, of release/ and runs in progress; what is absent is listed.
RUNS ?= runs
eval-papers:  ## the papers' protocols on every trained network there is (hours on a CPU; goes on where it stopped)
	$(READY) test
	$(PY) -m training.evaluate_papers --runs $(RUNS) $(ARGS)
	$(PY) -m training.report --runs $(RUNS)

# Ten minutes on two cores with nothing else to do; first the networks of the papers' files are written, which takes a
# minute each, once. The page is bench_out/bench.html. docs/BENCH.md says what the numbers mean.
BENCH = $(PY) -m benchmarks.bench.cli
bench:  ## time the SDK, its rivals and the papers' networks; count what the detector finds (that needs the archives)
	$(READY) bench
	$(BENCH) picoface_x8 picoface_x4 --precisions fp32,int8 --duration 1 --predict orin-nano,agx-orin,thor,rtx-4090,h200 \
		--rivals torch-eager,torch-eager-engine,torch-channels-last,openvino --scaling faces,batch \
		--json benchmarks/results/bench_cpu.json --html bench_out/bench.html
	$(BENCH) jasrnet fsrnet super_fan mtun --scenarios SingleStream --batches 1 --duration 1 --rivals none --no-cold \
		--json benchmarks/results/bench_papers.json --html bench_out/papers.html
	$(PY) -m benchmarks.sdk_latency --json benchmarks/results/sdk_latency.json
	$(PY) -m benchmarks.detector_recall --json benchmarks/results/detector_recall.json
	$(PY) -m benchmarks.report --write

# The whole matrix on a machine with a GPU, its driver and TensorRT: engines are built on first use (not yet run).
bench-gpu:  ## the same on this machine's GPU, every precision, backend and rival that is here
	@$(or $(PYTHON),python3) scripts/find_gpu.py
	$(READY) gpu
	$(BENCH) picoface_x8 picoface_x4 --backends tensorrt,onnxruntime --precisions fp32,fp16,int8 --batches 1,8,64,256 \
		--duration 2 --rivals auto --scaling all --power --json benchmarks/results/bench_gpu.json $(ARGS)
	$(PY) -m benchmarks.report --write

numbers:  ## write the numbers of benchmarks/results/ into the documents
	$(READY) demo
	$(PY) -m benchmarks.report --write

format:  ## let ruff mend what it can
	$(READY) check
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

# For a machine with a GPU, its driver and a network; docs/GPU.md has the steps for others.
gpu-check:  ## build engines for this machine's GPU, compare, time, look for leaks (about an hour)
	@$(or $(PYTHON),python3) scripts/find_gpu.py
	$(READY) gpu
	$(PY) -m export.gpu_kit gpu_kit
	$(PY) -m benchmarks.gpu_check gpu_kit --json benchmarks/results/gpu_check.json $(ARGS)

clean:  ## remove the environment and everything generated
	rm -rf .venv .venv.lock build dist *.egg-info demo_out bench_out .pytest_cache .ruff_cache .hypothesis gpu_kit
