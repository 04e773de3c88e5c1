"""Files: packed, ONNX, int8; sizes and operations; the runtimes that read them."""
