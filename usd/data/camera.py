"""The camera of the embedded dataset, and the normals that a depth image implies."""

import numpy as np

NEAR, FAR = 0.3, 12.0  # metres, the camera's clipping planes
FIELD_OF_VIEW = 45.0  # degrees


def normals(depth: np.ndarray, far: float) -> np.ndarray:
    """Camera-space normals of a depth image (S, S), encoded (n + 1) / 2 as uint8 (S, S, 3).

    Args:
        depth: In metres.
        far: The depth of pixels where nothing was hit; their normals point towards the viewer.
    """
    size = depth.shape[0]
    focal = size / 2 / np.tan(np.radians(FIELD_OF_VIEW) / 2)
    ray = (np.arange(size) - (size - 1) / 2) / focal
    points = np.stack([ray[None, :] * depth, -ray[:, None] * depth, -depth], axis=-1)
    dy, dx = np.gradient(points, axis=(0, 1))
    normal = np.cross(dx, -dy)  # x right × y up: towards the viewer
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-12)
    normal[depth >= far * 0.999] = (0, 0, 1)
    return np.rint((normal + 1) / 2 * 255).astype(np.uint8)
