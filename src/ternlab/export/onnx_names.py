"""Names of input and output in the ONNX files; free of torch and onnx."""

INPUT, OUTPUT = "images", "logits"
