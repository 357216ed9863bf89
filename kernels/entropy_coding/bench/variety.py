"""Bytes and errors on networks of many shapes beside nncodec's own pipeline, at the same quantiser and qp.

Weights are drawn, not trained, with the tails, the sparsity and the sizes that trained ones have; what no draw shows,
EfficientNet-Lite0 does in network.py. Every file of both is decoded and compared with the weights.
"""

import numpy as np

from .. import compress, decompress

QPS = {"uniform": (-20, -32), "trellis": (-24, -36)}
SMALL_QP = -75


def run(bench) -> None:
    """One row a network: the worst of all its settings, in bytes and in squared error over nncodec's."""
    with bench.peer("nncodec-full") as peer:
        if peer is None:
            return
        for name, tree in networks().items():
            rows = [compare(peer, tree, quantizer, qp) for quantizer, qps in QPS.items() for qp in qps]
            worst = {"bytes_over_nncodec": max(row["ours"] / row["theirs"] for row in rows)}
            worst["squared_error_over_nncodec"] = max(row["our_error"] / row["their_error"] for row in rows)
            bench.record(f"any network: {name}", **worst, settings=rows)


def compare(peer, tree, quantizer: str, qp: int) -> dict:
    """Bytes of both files, and the squared errors of what each decodes to."""
    data = compress(tree, qp=qp, small_qp=SMALL_QP, quantizer=quantizer)
    theirs = peer_file(peer, tree, qp=qp, nonweight_qp=SMALL_QP, use_dq=quantizer == "trellis")
    decoded = peer_arrays(peer, theirs)
    return {
        "quantizer": quantizer, "qp": qp, "ours": len(data), "theirs": len(theirs),
        "our_error": squared_error(tree, decompress(data)), "their_error": squared_error(tree, decoded),
    }  # fmt: skip


def peer_file(peer, tree: dict[str, np.ndarray], **settings) -> bytes:
    """Returns the file of nncodec's whole pipeline for float32 arrays by name."""
    stream = peer.folder / "network.nnc"
    peer.ask("encode_network", network=peer.put_many("network", tree), stream=stream, **settings)
    return stream.read_bytes()


def peer_arrays(peer, data: bytes) -> dict[str, np.ndarray]:
    """Returns float32 arrays by name as nncodec's whole pipeline reads a file."""
    stream = peer.folder / "network.nnc"
    stream.write_bytes(data)
    peer.ask("decode_network", stream=stream, network=peer.folder / "decoded.npz")
    return peer.get("decoded.npz")


def squared_error(tree, decoded) -> float:
    """Over all values of all tensors, in float64; a little above 0, so that two exact files have a ratio."""
    return 1e-12 + sum(
        float(((array.astype(np.float64) - decoded[name].reshape(array.shape)) ** 2).sum())
        for name, array in tree.items()
    )


def networks() -> dict[str, dict[str, np.ndarray]]:
    """float32 arrays by name, of each network."""
    random = np.random.default_rng(20)

    def normal(*shape, scale=None):
        return random.normal(0, scale or np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)

    def heavy(*shape, scale=0.02, freedom=3):
        return (scale * random.standard_t(freedom, shape)).astype(np.float32)

    def norm(name, width):
        return {
            f"{name}.weight": random.normal(1, 0.2, width).astype(np.float32),
            f"{name}.bias": random.normal(0, 0.2, width).astype(np.float32),
            f"{name}.running_mean": random.normal(0, 0.5, width).astype(np.float32),
            f"{name}.running_var": random.gamma(2, 0.5, width).astype(np.float32),
        }

    mlp = {}
    for i, (rows, columns) in enumerate([(37, 784), (513, 37), (3, 513)]):
        mlp |= {f"fc{i}.weight": normal(rows, columns), f"fc{i}.bias": normal(rows, scale=0.1)}
    transformer = {"embedding.weight": normal(4000, 192, scale=0.05)}
    for i in range(2):
        for part, shape in {"qkv": (576, 192), "out": (192, 192), "up": (768, 192), "down": (192, 768)}.items():
            transformer |= {f"block{i}.{part}.weight": heavy(*shape), f"block{i}.{part}.bias": np.zeros(shape[0], "f")}
        transformer |= {f"block{i}.norm.weight": np.ones(192, "f"), f"block{i}.norm.bias": np.zeros(192, "f")}
    resnet = {"conv.weight": normal(16, 3, 3, 3)} | norm("bn", 16)
    for i, (outs, ins) in enumerate([(16, 16)] * 6 + [(32, 16)] + [(32, 32)] * 5 + [(64, 32)] + [(64, 64)] * 5):
        resnet |= {f"conv{i}.weight": normal(outs, ins, 3, 3)} | norm(f"bn{i}", outs)
    resnet |= {"fc.weight": normal(10, 64), "fc.bias": normal(10, scale=0.1)}
    depthwise = {}
    for i, width in enumerate((32, 96, 144, 240)):
        depthwise |= {f"dw{i}.weight": normal(width, 1, 3, 3), f"pw{i}.weight": heavy(width // 2, width, 1, 1)}
        depthwise |= norm(f"bn{i}", width)
    sparse = {}
    for name, shape in {"fc1": (300, 784), "fc2": (100, 300), "fc3": (10, 100)}.items():
        sparse[f"{name}.weight"] = np.where(random.random(shape) < 0.92, 0, normal(*shape)).astype(np.float32)
    pruned = normal(256, 128, 3, 3)
    pruned[random.random(256) < 0.6] = 0
    return {
        "an MLP of odd sizes": mlp,
        "a transformer, heavy tails": transformer,
        "a ResNet-20": resnet,
        "depthwise convolutions": depthwise,
        "an MLP, 92 % zeros": sparse,
        "a convolution without most filters": {"conv.weight": pruned, "conv.bias": normal(256, scale=0.1)},
        "one large matrix": {"linear.weight": heavy(768, 1024)},
        "a recurrent network": {"lstm.weight_ih": normal(800, 100), "lstm.weight_hh": normal(800, 200),
                                "lstm.bias_ih": normal(800, scale=0.1), "lstm.bias_hh": normal(800, scale=0.1)},
        "a tiny network": {"fc1.weight": normal(8, 2), "fc1.bias": normal(8, scale=0.1), "fc2.weight": normal(1, 8),
                           "fc2.bias": normal(1, scale=0.1), "scale": normal(1, 1, scale=1)},
        "constants": {"half.weight": np.full((50, 60), 0.5, "f"), "zero.weight": np.zeros((70, 30), "f"),
                      "one.weight": np.ones((1, 4000), "f"), "wide.weight": heavy(20, 300, scale=50.0)},
        "a list of scalars": {f"gain{i}": random.normal(1, 0.1, 1).astype(np.float32) for i in range(300)},
    }  # fmt: skip
