"""Export of a generator: ONNX, in single and half precision and in 8-bit integers."""
