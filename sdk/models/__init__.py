"""Shipped weights, as package data: picoface_*.onnx, each with its ModelSpec in its metadata."""
