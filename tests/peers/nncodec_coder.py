"""nncodec's compiled coder behind four functions, for the scripts that run under its own Python.

Only the bare extension is imported: the package's own pipeline needs torch. See tests/peers/README.md.
"""

import numpy as np
from nncodec.extensions import deepCABAC
from nncodec.nnc_core.hdsp.hdsp_tool import HDSP_OPTS_OFF


def encode(q, *, n_unary=11, presets=True, dq=False, scan=0, profile=0, row_skip=False) -> bytes:
    """Returns the stream of one int32 tensor [rows, width]; `row_skip` skips every all-zero row (profile 1)."""
    skipped = ~q.any(axis=1) if row_skip else np.zeros(q.shape[0], bool)
    encoder = deepCABAC.Encoder()
    encoder.initCtxModels(n_unary, int(presets))
    encoder.encodeLayer(
        np.ascontiguousarray(q, dtype=np.int32), int(dq), scan, profile, 0, int(row_skip), skipped.astype(np.int32),
        *HDSP_OPTS_OFF(), 0, 0,
    )  # fmt: skip
    return bytes(encoder.finish())


def decode(data: bytes, shape, *, n_unary=11, dq=False, scan=0, profile=0) -> np.ndarray:
    """Returns the int32 tensor [rows, width] of a stream."""
    out = np.zeros(shape, np.int32)
    decoder = deepCABAC.Decoder()
    decoder.setStream(np.frombuffer(data, np.uint8))
    decoder.initCtxModels(n_unary)
    # With several block rows nncodec reads a stream only through entry points that a first pass finds.
    edge = {1: 8, 2: 16, 3: 32, 4: 64}.get(scan, 0)
    if edge and min(shape) > 1 and shape[0] > edge:
        decoder.decodeLayerAndCreateEPs(out, int(dq), scan, profile, 0, *HDSP_OPTS_OFF(), 0, 0)
    else:
        decoder.decodeLayer(out, int(dq), scan, profile, 0, *HDSP_OPTS_OFF(), 0, 0)
    decoder.finish()
    return out


def quantize(weights, *, qp, qp_density=2, dq=False, lambda_scale=0.0, n_unary=11, scan=0, profile=0):
    """Returns (int32 levels or trellis grid integers, the qp that was used): nncodec's rate-distortion quantiser.

    Args:
      weights: float32 [rows, width].
      qp, qp_density: step = (2**d + qp mod 2**d) * 2**(floor(qp / 2**d) - d).
      dq: trellis (dependent) quantisation.
      lambda_scale: weight of the rate; 0 is plain rounding (or a trellis on distortion alone).
    """
    weights = np.array(weights, dtype=np.float32, order="C")
    levels = np.zeros(weights.shape, np.int32)
    encoder = deepCABAC.Encoder()
    encoder.initCtxModels(n_unary, 0)
    used = encoder.quantLayer(weights, levels, int(dq), qp_density, qp, float(lambda_scale), n_unary, scan, profile)
    return levels, int(used)


def dequantize(levels, *, qp, qp_density=2, scan=0) -> np.ndarray:
    """Returns the float32 weights [rows, width] of grid integers."""
    out = np.zeros(levels.shape, np.float32)
    deepCABAC.Decoder().dequantLayer(out, np.array(levels, dtype=np.int32, order="C"), qp_density, qp, scan)
    return out
