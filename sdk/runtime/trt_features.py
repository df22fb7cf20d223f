"""What one TensorRT has and another lacks: the attributes that make a feature. Data of sdk.runtime.trt_api."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["FEATURES", "WITHOUT_EFFECT", "Feature"]


@dataclass(frozen=True)
class Feature:
    """What a TensorRT may lack: how people call it, the attributes that make it, and who has it."""

    title: str
    names: tuple[str, ...]  # dotted, from the module; all must be there
    where: str  # who has it, for the remedy


ALWAYS_UNTIL_10 = "TensorRT 8.5 to 10.x"
FEATURES = {
    "typed": Feature(
        "strongly typed networks", ("NetworkDefinitionCreationFlag.STRONGLY_TYPED",), "TensorRT 10.3 or newer"
    ),
    "explicit_batch": Feature("a batch flag", ("NetworkDefinitionCreationFlag.EXPLICIT_BATCH",), ALWAYS_UNTIL_10),
    "fp16_flag": Feature("the FP16 builder flag", ("BuilderFlag.FP16",), ALWAYS_UNTIL_10),
    "int8_flag": Feature("the INT8 builder flag", ("BuilderFlag.INT8",), ALWAYS_UNTIL_10),
    "obey": Feature(
        "layer precisions", ("BuilderFlag.OBEY_PRECISION_CONSTRAINTS", "ILayer.precision"), ALWAYS_UNTIL_10
    ),
    "fp8": Feature("FP8", ("DataType.FP8", "NetworkDefinitionCreationFlag.STRONGLY_TYPED"), "TensorRT 10.3 or newer"),
    "optimization_level": Feature(
        "a builder optimisation level", ("IBuilderConfig.builder_optimization_level",), "TensorRT 8.6 or newer"
    ),
    "hardware_compatible": Feature(
        "hardware compatibility",
        ("IBuilderConfig.hardware_compatibility_level", "HardwareCompatibilityLevel.AMPERE_PLUS"),
        "TensorRT 8.6 or newer",
    ),
    "same_capability": Feature(
        "engines for all GPUs of one compute capability",
        ("IBuilderConfig.hardware_compatibility_level", "HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY"),
        "TensorRT 10.13 or newer",
    ),
    "version_compatible": Feature(
        "version-compatible engines", ("BuilderFlag.VERSION_COMPATIBLE",), "TensorRT 8.6 or newer"
    ),
    "refit": Feature("refittable engines", ("BuilderFlag.REFIT",), "TensorRT 8.5 or newer"),
    "strip": Feature("engines without weights", ("BuilderFlag.STRIP_PLAN",), "TensorRT 10.3 or newer"),
    "progress": Feature(
        "a progress monitor", ("IProgressMonitor", "IBuilderConfig.progress_monitor"), "TensorRT 10.3 or newer"
    ),
    "portable": Feature(
        "engines for GPUs that are not here",
        ("ComputeCapability", "IBuilderConfig.set_compute_capability"),
        "TensorRT-RTX 1.7",
    ),
    "dla": Feature(
        "deep-learning accelerators", ("IBuilderConfig.DLA_core", "DeviceType.DLA"), "TensorRT 8.5 or newer"
    ),
    "timing_cache": Feature("a timing cache", ("IBuilderConfig.create_timing_cache",), "TensorRT 8.5 or newer"),
    "tactic_sources": Feature(
        "a choice of tactic sources", ("IBuilderConfig.set_tactic_sources",), "TensorRT 8.5 or newer"
    ),
    "tactic_cublas": Feature("the tactic source cublas", ("TacticSource.CUBLAS",), ALWAYS_UNTIL_10),
    "tactic_cublas_lt": Feature("the tactic source cublas_lt", ("TacticSource.CUBLAS_LT",), ALWAYS_UNTIL_10),
    "tactic_cudnn": Feature("the tactic source cudnn", ("TacticSource.CUDNN",), ALWAYS_UNTIL_10),
    "parser_names": Feature("names in parser errors", ("ParserError.node_name",), "TensorRT 10.3 or newer"),
    "host_code": Feature(
        "engines with code for the processor", ("Runtime.engine_host_code_allowed",), "TensorRT 8.6 or newer"
    ),
    "validity": Feature(
        "a look at an engine before it is loaded", ("Runtime.get_engine_validity",), "TensorRT-RTX 1.7"
    ),
}
WITHOUT_EFFECT = {  # has the names, but ignores them or fails in the middle of the build (measured with RTX 1.7.1)
    "tensorrt_rtx": (
        "hardware_compatible",
        "same_capability",
        "version_compatible",
        "optimization_level",
        "dla",
        "timing_cache",
        "tactic_sources",
        "refit",
        "strip",
    ),
}
