"""From a checkpoint to ONNX (`export.to_onnx`), and from ONNX to an engine that was verified (`trt-build`, export.cli).

`export.to_onnx` needs torch and a checkout, and so do archives as calibration faces: training/ is not in the wheel.
All else runs on the device.
"""
