"""The `tensorrt` backend: builds, caches and runs engine files on NVIDIA GPUs."""
