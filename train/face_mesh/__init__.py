"""Trains the face mesh network: from an aligned portrait to 478 points of the face, in a coarse and a fine pass.

    python -m train.face_mesh DATASET --output mesh.onnx

The points are those of MediaPipe's face mesh with irises, in its order; the data set holds meshes beside its
portraits, which `apdraw prepare --npr --meshes FILE` writes.
"""
