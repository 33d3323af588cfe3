"""The TensorRT engine: builds, caches and runs compiled generators on NVIDIA GPUs."""
