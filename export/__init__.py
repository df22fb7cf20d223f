"""From a checkpoint to the file that a device runs.

`export.to_onnx` needs torch and a checkout: training/ is not in the wheel.
"""
