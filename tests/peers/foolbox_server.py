"""Boundary Attacks of Foolbox (on JAX and on torch) and ART, on request, in the environment .venv-peers/foolbox.

The victim is a network of dense layers and 3x3 convolutions whose weights come as arrays; images and starts are the
caller's. Answers hold seconds; the adversarial images go to a file.
"""

import importlib.metadata
import logging
import time
import warnings

import line_server
import numpy as np

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def torch_network(weights):
    """Labels' scores of images [n, rows, columns, channels] in [0, 1], as a torch module; layers in their order."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, value in weights.items():
                self.register_buffer(name.replace("/", "_"), torch.tensor(value))

        def forward(self, x):
            x = (x - self.mean) / self.std
            index = 1
            if "conv1/kernel" in weights:
                x = x.permute(0, 3, 1, 2)
                while f"conv{index}/kernel" in weights:
                    kernel = getattr(self, f"conv{index}_kernel").permute(3, 2, 0, 1)
                    x = torch.relu(torch.nn.functional.conv2d(x, kernel, getattr(self, f"conv{index}_bias")))
                    x = torch.nn.functional.max_pool2d(x, 2) if index % 2 == 0 else x
                    index += 1
                x = x.permute(0, 2, 3, 1)
            x = x.reshape(len(x), -1)
            count = sum(name.startswith("fc") and name.endswith("kernel") for name in weights)
            for index in range(1, count + 1):
                x = x @ getattr(self, f"fc{index}_kernel") + getattr(self, f"fc{index}_bias")
                x = torch.relu(x) if index < count else x
            return x

    return Network().eval()


def jax_network(weights, compiled):
    """The same for dense layers, in JAX, as one compiled function or as it is written."""
    import jax
    import jax.numpy as jnp

    weights = {name: jnp.asarray(value) for name, value in weights.items()}
    count = sum(name.startswith("fc") and name.endswith("kernel") for name in weights)

    def network(x):
        x = ((x - weights["mean"]) / weights["std"]).reshape(len(x), -1)
        for index in range(1, count + 1):
            x = x @ weights[f"fc{index}/kernel"] + weights[f"fc{index}/bias"]
            x = jax.nn.relu(x) if index < count else x
        return x

    return jax.jit(network) if compiled else network


def load(path):
    """Arrays of a file by name."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def boundary(
    network: str, problem: str, output: str, backend: str, steps: int, compiled: bool = True, seed: int = 0
) -> dict:
    """Runs Foolbox's BoundaryAttack with its defaults from given starts; returns its seconds and whether it succeeded.

    Args:
      network: file of weights, `mean` and `std`.
      problem: file of `images`, `labels`, `starts`.
      output: file for the adversarial images.
      backend: "jax" or "torch".
      steps: of the attack.
      compiled: whether the network is a compiled function, on JAX.
      seed: of torch; on JAX Foolbox has its own, 0.
    """
    import foolbox

    weights, given = load(network), load(problem)
    if backend == "torch":
        import torch

        torch.manual_seed(seed)
        model = foolbox.PyTorchModel(torch_network(weights), bounds=(0, 1), device="cpu")
        convert = torch.tensor
    else:
        import jax.numpy as jnp

        model = foolbox.JAXModel(jax_network(weights, compiled), bounds=(0, 1))
        convert = jnp.asarray
    images, starts = convert(given["images"]), convert(given["starts"])
    labels = convert(given["labels"].astype(np.int64 if backend == "torch" else np.int32))
    attack = foolbox.attacks.BoundaryAttack(steps=steps)
    began = time.perf_counter()
    adversarial = attack.run(model, images, foolbox.criteria.Misclassification(labels), starting_points=starts)
    adversarial = np.asarray(adversarial)
    seconds = time.perf_counter() - began
    np.save(output, adversarial)
    return {"seconds": seconds}


class OutOfQueries(Exception):
    """An image has used its budget."""


def art(network: str, problem: str, output: str, budget: int, seed: int = 0, **settings) -> dict:
    """Runs ART's BoundaryAttack, untargeted, from given starts, each image until it has asked for `budget` labels.

    Args:
      network, problem, output: as in `boundary`.
      budget: queries an image.
      seed: of NumPy's global generator, which ART draws from.
      settings: of the attack; its defaults where none are given.

    Returns:
      seconds, and queries and outer iterations of all images together.
    """
    import torch
    from art.attacks.evasion import BoundaryAttack
    from art.estimators.classification import PyTorchClassifier

    np.random.seed(seed)  # noqa: NPY002
    weights, given = load(network), load(problem)
    shape = given["images"].shape[1:]
    used = [0]

    class Counting(PyTorchClassifier):
        def predict(self, x, *arguments, **options):
            if used[0] + len(x) > budget:
                raise OutOfQueries
            used[0] += len(x)
            return super().predict(np.asarray(x, np.float32), *arguments, **options)

    classifier = Counting(
        torch_network(weights), loss=torch.nn.CrossEntropyLoss(), input_shape=shape, nb_classes=10, clip_values=(0, 1)
    )
    total, adversarial = 0, []
    began = time.perf_counter()
    for image, label, start in zip(given["images"], given["labels"], given["starts"], strict=True):
        attack = BoundaryAttack(classifier, targeted=False, max_iter=budget, verbose=False, **settings)
        attack.curr_adv, used[0] = start, 0
        try:
            attack.generate(image[None], y=np.array([label]), x_adv_init=start[None])
        except OutOfQueries:
            pass
        adversarial.append(attack.curr_adv)
        total += used[0]
    seconds = time.perf_counter() - began
    np.save(output, np.array(adversarial, np.float32))
    return {"seconds": seconds, "queries": total}


def version() -> dict:
    """Returns what answers here."""
    names = ("foolbox", "eagerpy", "adversarial-robustness-toolbox", "jax", "torch", "numpy")
    return {name: importlib.metadata.version(name) for name in names}


if __name__ == "__main__":
    line_server.serve({"boundary": boundary, "art": art, "version": version})
