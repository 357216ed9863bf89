"""compress, decompress and inspect on small made-up networks: what they write and refuse, what a crash leaves."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys
import time
from inspect import unwrap

import numpy as np
import pytest

from common import app, weight_files
from common.runs import run_directory
from kernels import entropy_coding
from projects.deepcabac import compress, decompress, demo, inspect, quantization, sensitivity, study
from projects.deepcabac.config import CompressConfig
from projects.deepcabac.network import Network
from projects.deepcabac.quantization import Rule

ROOT = pathlib.Path(__file__).resolve().parents[3]


def made_up(seed=0, rows=60, columns=80) -> dict:
    """A sparse layer, a dense one, biases and an integer."""
    random = np.random.default_rng(seed)
    sparse = random.laplace(0, 0.1, (rows, columns)) * (random.random((rows, columns)) < 0.2)
    return {
        "fc1": {"kernel": sparse.astype(np.float32), "bias": random.normal(0, 0.3, columns).astype(np.float32)},
        "fc2": {"kernel": random.normal(0, 0.2, (columns, 10)).astype(np.float32), "bias": np.zeros(10, np.float32)},
        "epoch": np.int32(7),
    }


@pytest.fixture
def model(tmp_path) -> pathlib.Path:
    path = tmp_path / "model.npz"
    weight_files.save_tree(path, made_up())
    return path


@pytest.fixture
def run(tmp_path):
    return run_directory.open_for_test(tmp_path / "run")


def config_for(model, **flags) -> CompressConfig:
    return CompressConfig(checkpoint=str(model), output=str(model.parent / "model.dcb"), **flags)


@pytest.mark.parametrize("form", ["weights.npz", "weights.safetensors", "weights"])
def test_there_and_back(form, model, run, tmp_path):
    source = tmp_path / ("in_" + form)
    weight_files.save_tree(source, weight_files.load_tree(model))
    flags = config_for(source, step=0.02, small_relative_step=0.05, rate_weight=0.05)
    result = compress.main(flags, run)
    data = pathlib.Path(flags.output).read_bytes()
    assert result["bytes"] == len(data) < 4 * (60 * 80 + 80 * 10 + 90)
    output = tmp_path / ("out_" + form)
    decompress.main(decompress.DecompressConfig(input=flags.output, output=str(output)), run)
    before, after = (weight_files.flatten(weight_files.load_tree(path)) for path in (model, output))
    assert before.keys() == after.keys()
    assert after["epoch"] == 7 and not after["fc2/bias"].any()
    step = {"fc1/kernel": 0.02, "fc2/kernel": 0.02}
    step["fc1/bias"] = 0.05 * float(np.sqrt(np.mean(np.square(before["fc1/bias"].astype(np.float64)))))
    for name, size in step.items():
        levels = after[name].astype(np.float64) / size
        np.testing.assert_allclose(levels, np.rint(levels), rtol=0.02)  # on a grid of a step fitted to the levels
        nearest = np.rint(before[name].astype(np.float64) / size)
        assert np.all(
            (np.rint(levels) == nearest) | (np.rint(levels) == 0) | (np.abs(np.rint(levels)) == np.abs(nearest) - 1)
        )
    assert {"tensors", "baselines"} <= {path.stem for path in (run.path / "tables").glob("*.json")}
    assert {"bits", "weights_before_after", "baselines"} <= {path.stem for path in run.plots.glob("*.png")}


def test_qp_is_the_step_of_nnc(model, run):
    flags = config_for(model, qp=-24, small_qp=-30)
    compress.main(flags, run)
    data = pathlib.Path(flags.output).read_bytes()
    steps = {tensor.name: tensor.step for tensor in entropy_coding.inspect(data).tensors}
    assert steps["fc1/kernel"] == 2.0**-6 and steps["fc1/bias"] == entropy_coding.qp_to_step(-30)


def test_target_bytes_is_met_and_used(model, run):
    sizes = {}
    for target in (900, 1500, 3000):
        flags = config_for(model, target_bytes=target)
        result = compress.main(flags, run)
        assert result["bytes"] == os.path.getsize(flags.output) <= target
        sizes[target] = result
        assert result["bytes"] > 0.97 * target
    assert sizes[900]["weight_snr_db"] < sizes[1500]["weight_snr_db"] < sizes[3000]["weight_snr_db"]


def test_target_bytes_takes_lossless_where_it_fits(model, run):
    result = compress.main(config_for(model, target_bytes=1_000_000), run)
    assert result["rule"] == "lossless" and result["weight_snr_db"] == "inf"


def test_target_bytes_out_of_reach(model, run):
    with pytest.raises(ValueError, match=r"cannot be reached.*takes \d+ bytes"):
        compress.main(config_for(model, target_bytes=60), run)
    assert not (model.parent / "model.dcb").exists()


@pytest.mark.parametrize("target", [10.0, 25.0, 50.0])
def test_target_snr_is_met_and_not_exceeded(target, model, run):
    result = compress.main(config_for(model, target_snr=target), run)
    assert target <= result["weight_snr_db"] < target + 0.5


def test_importance_moves_errors_to_where_they_matter_less(model, run, tmp_path):
    tree = weight_files.load_tree(model)
    sigma = np.full(tree["fc2"]["kernel"].shape, 1.0, np.float32)
    sigma[:40] = 0.05
    weight_files.save_tree(tmp_path / "sigma.safetensors", {"fc2": {"kernel": sigma}})
    flags = config_for(model, step=0.05, rate_weight=0.5, importance=str(tmp_path / "sigma.safetensors"))
    compress.main(flags, run)
    decoded = entropy_coding.decompress(pathlib.Path(flags.output).read_bytes())["fc2"]["kernel"]
    errors = np.square(decoded - tree["fc2"]["kernel"]).mean(axis=1)
    assert errors[:40].mean() < 0.5 * errors[40:].mean()


def test_importance_of_another_shape(model, run, tmp_path):
    weight_files.save_tree(tmp_path / "sigma.npz", {"fc2": {"kernel": np.ones((3, 3), np.float32)}})
    flags = config_for(model, step=0.05, rate_weight=0.5, importance=str(tmp_path / "sigma.npz"))
    with pytest.raises(ValueError, match=r"'fc2/kernel' has shape \[3, 3\], in the checkpoint it is \[80, 10\]"):
        compress.main(flags, run)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({}, "give one of --step"),
        ({"step": 0.1, "qp": -3}, "not step and qp"),
        ({"step": 0.1, "small_step": 0.1, "small_qp": 2}, "give one of small_step, small_qp"),
        ({"step": 0.1, "importance": "x"}, "needs a --rate_weight"),
        ({"search": "dc_v2", "small_step": 0.1}, "chooses small steps itself"),
    ],
)
def test_flags_that_do_not_go_together(flags, words):
    with pytest.raises(ValueError, match=words):
        CompressConfig(checkpoint="a", output="b", **flags)


def test_nan_is_named(tmp_path, run):
    tree = made_up()
    tree["fc1"]["kernel"][3, 4] = np.nan
    weight_files.save_tree(tmp_path / "bad.npz", tree)
    with pytest.raises(ValueError, match="fc1/kernel.*NaN"):
        compress.main(config_for(tmp_path / "bad.npz", step=0.1), run)


def test_a_file_that_decodes_to_something_else_is_refused(model, run, monkeypatch):
    """Verification stands between the bytes and their name."""
    honest = quantization.encode

    def wrong(network, rule, **options):
        tree = {**network.tree, "fc2": {**network.tree["fc2"], "kernel": -network.tree["fc2"]["kernel"]}}
        return honest(dataclasses.replace(network, tree=tree), rule, **options)

    monkeypatch.setattr(quantization, "encode", wrong)
    flags = config_for(model, step=0.02)
    with pytest.raises(ValueError, match="'fc2/kernel' does not decode to what was written"):
        compress.main(flags, run)
    assert not pathlib.Path(flags.output).exists()


def test_verify_compares_lossless_tensors_to_the_bit():
    tree = made_up()
    network, rule = Network(tree), Rule(0.02)
    data = quantization.encode(network, rule)
    quantization.verify(network, rule, data)
    tree["fc1"]["bias"][0] = np.nextafter(tree["fc1"]["bias"][0], np.float32(9))
    with pytest.raises(ValueError, match="'fc1/bias'"):
        quantization.verify(network, rule, data)


def test_inspect_shows_every_tensor_and_checks_sums(model, run, capsys):
    flags = config_for(model, step=0.02)
    compress.main(flags, run)
    capsys.readouterr()
    result = inspect.main(inspect.InspectConfig(input=flags.output, sort="bytes"), run)
    text = capsys.readouterr().out
    for name in ("fc1/kernel", "fc1/bias", "fc2/kernel", "fc2/bias", "epoch"):
        assert name in text
    assert "60x80" in text and f"{os.path.getsize(flags.output):,} bytes" in text
    assert result["bytes"] == os.path.getsize(flags.output)
    data = bytearray(pathlib.Path(flags.output).read_bytes())
    data[len(data) // 2] ^= 4
    pathlib.Path(flags.output).write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.dcb: "):
        inspect.main(inspect.InspectConfig(input=flags.output), run)


def test_decompress_bounds_its_output(model, run):
    flags = config_for(model, step=0.02)
    compress.main(flags, run)
    settings = decompress.DecompressConfig(
        input=flags.output, output=str(model.parent / "y.npz"), max_output_bytes=1000
    )
    with pytest.raises(ValueError, match="max_output_bytes=1000"):
        decompress.main(settings, run)
    assert not (model.parent / "y.npz").exists()


def called(module, *flags) -> int:
    """Returns the exit code of a verb, called in this process as from a command line."""
    config_class = next(value for name, value in vars(module).items() if name == VERBS[module])
    with pytest.raises(SystemExit) as done:
        app.run(module.main, config_class, [module.__name__, *flags], transient=module is inspect)
    return done.value.code


VERBS = {
    compress: "CompressConfig",
    decompress: "DecompressConfig",
    inspect: "InspectConfig",
    study: "StudyConfig",
    demo: "DemoConfig",
    sensitivity: "SensitivityConfig",
}


@pytest.mark.parametrize(
    ("verb", "flags", "words"),
    [
        (compress, ["--checkpoint=nowhere.npz", "--output=x.dcb", "--step=0.1"], "nowhere.npz"),
        (compress, ["--checkpoint=nowhere.npz", "--output=x.dcb", "--steep=0.1"], "steep"),
        (compress, ["--checkpoint=a.npz", "--output=x.dcb", "--step=-1"], "more than 0"),
        (compress, ["--checkpoint=a.npz", "--step=1"], "--output is required"),
        (decompress, ["--input=nowhere.dcb", "--output=y.npz"], "nowhere.dcb"),
        (inspect, ["--input=nowhere.dcb"], "nowhere.dcb"),
    ],
)
def test_one_clear_line(verb, flags, words, tmp_path, capsys):
    run_dir = [] if verb is inspect else [f"--run_dir={tmp_path / 'run'}"]
    assert called(verb, *flags, *run_dir) != 0
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and words in lines[0] and "Traceback" not in text, text


@pytest.mark.parametrize("verb", VERBS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_help_explains_itself(verb, capsys):
    assert called(verb, "--help") == 0
    text = capsys.readouterr().out
    assert f"python -m {verb.__name__}" in text and verb.__doc__.splitlines()[0] in text
    flags = {decompress: "--max_output_bytes", inspect: "--input", study: "--scale", demo: "--tolerance"}
    assert flags.get(verb, "--checkpoint") in text


def test_the_command_line_itself(model):
    """The one test of a real process: what `python -m` and the exit code give."""
    flags = [f"--checkpoint={model}", f"--output={model.parent / 'm.dcb'}", f"--run_dir={model.parent / 'run'}"]
    command = [sys.executable, "-m", "projects.deepcabac.compress", *flags]
    done = subprocess.run([*command, "--step=0.05"], cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    assert f"bytes = {os.path.getsize(model.parent / 'm.dcb')}" in done.stdout


def test_the_trellis_has_less_error_at_the_step_of_its_levels(model, run):
    """Its grid of half the step has the levels of the full step in each state: finer, and no parity is lost."""
    plain = compress.main(config_for(model, step=0.05), run)
    flags = config_for(model, step=0.025, quantizer="trellis")
    result = compress.main(flags, run)
    assert result["weight_snr_db"] > plain["weight_snr_db"] + 0.5
    codings = {
        tensor.name: tensor.coding for tensor in entropy_coding.inspect(pathlib.Path(flags.output).read_bytes()).tensors
    }
    assert codings["fc1/kernel"] == "trellis"


def test_a_full_disk_leaves_nothing(model, tmp_path):
    """The limit on a file's size plays the full disk: writing the output fails half-way."""
    random = np.random.default_rng(0)
    weight_files.save_tree(tmp_path / "large.npz", {"w": random.normal(size=(400, 300)).astype(np.float32)})
    target = tmp_path / "out" / "model.dcb"
    program = (
        "import dataclasses, resource, sys, pathlib\n"
        "from common import files\n"
        "from common.runs import run_directory\n"
        "from projects.deepcabac import compress\n"
        "honest = files.write_atomically\n"
        "def limited(path, data):\n"
        "    if str(path).endswith('.dcb'):\n"
        "        import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))\n"
        "    honest(path, data)\n"
        "files.write_atomically = limited\n"
        "config = compress.CompressConfig(checkpoint=sys.argv[1], output=sys.argv[2], step=0.01)\n"
        "try:\n"
        "    compress.main(config, run_directory.open_for_test(sys.argv[3]))\n"
        "except OSError as error:\n"
        "    print('refused', error.errno); sys.exit(3)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "large.npz"), str(target), str(tmp_path / "run")],
        cwd=ROOT, capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 3 and "refused" in done.stdout, done.stdout + done.stderr
    assert list(target.parent.iterdir()) == []


@pytest.mark.slow
def test_a_kill_leaves_nothing_under_the_name(tmp_path):
    """SIGKILL while the temporary file is being written: the name is not there, and the same command succeeds after."""
    weight_files.save_tree(tmp_path / "model.npz", made_up())
    target = tmp_path / "model.dcb"
    program = (
        "import os, sys, time, pathlib\n"
        "from common import files\n"
        "from common.runs import run_directory\n"
        "from projects.deepcabac import compress\n"
        "def dies(path, data):\n"
        "    with files.beside(path) as temporary:\n"
        "        temporary.write_bytes(data[: len(data) // 2])\n"
        "        print('half', flush=True)\n"
        "        time.sleep(60)\n"
        "if sys.argv[4] == 'slow':\n"
        "    honest = files.write_atomically\n"
        "    files.write_atomically = lambda path, data: (dies if str(path).endswith('.dcb') else honest)(path, data)\n"
        "config = compress.CompressConfig(checkpoint=sys.argv[1], output=sys.argv[2], step=0.01)\n"
        "compress.main(config, run_directory.open_for_test(sys.argv[3]))\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "model.npz"), str(target), str(tmp_path / "run")]
    process = subprocess.Popen([*arguments, "slow"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=100)
    finally:
        process.kill()
        process.stdout.close()
    assert not target.exists()
    assert subprocess.run([*arguments, "quick"], cwd=ROOT, timeout=400, check=False).returncode == 0
    assert entropy_coding.inspect(target.read_bytes()).tensors


@pytest.mark.slow
def test_random_kills_leave_the_whole_file_or_none(tmp_path):
    """SIGKILL at random moments of the real command."""
    random = np.random.default_rng(5)
    weight_files.save_tree(tmp_path / "model.npz", made_up())
    target = tmp_path / "model.dcb"
    for attempt in range(8):
        target.unlink(missing_ok=True)
        process = subprocess.Popen(
            [sys.executable, "-m", "projects.deepcabac.compress", f"--checkpoint={tmp_path / 'model.npz'}",
             f"--output={target}", "--step=0.01", f"--run_dir={tmp_path / f'run{attempt}'}"],
            cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        time.sleep(random.uniform(0.5, 12))
        process.kill()
        process.wait(timeout=100)
        if target.exists():
            entropy_coding.decompress(target.read_bytes())


def test_every_quantizer_by_name(model, run):
    sizes = {}
    for quantizer in ("uniform", "rdo", "trellis"):
        result = compress.main(config_for(model, step=0.02, quantizer=quantizer), run)
        sizes[quantizer] = result["bytes"]
    assert sizes["rdo"] < sizes["uniform"] == compress.main(config_for(model, step=0.02), run)["bytes"]
    assert result["rule"]["rate_weight"] == 0
    for options in ({"quantizer": "uniform", "rate_weight": 0.1}, {"quantizer": "uniform", "search": "dc_v2"}):
        with pytest.raises(ValueError, match="knows no price of a bit"):
            config_for(model, **({} if "search" in options else {"step": 0.1}), **options)


def unlike_scales(seed=5) -> dict:
    """A network as others publish them: weights near 0.05, norms near 1, variances up to thousands, masks."""
    random = np.random.default_rng(seed)
    return {
        "w": random.normal(0, 0.05, (64, 64)).astype(np.float32),
        "conv": random.normal(0, 0.05, (60, 3, 3, 8)).astype(np.float32),
        "bn_scale": random.normal(1, 0.1, 60).astype(np.float32),
        "bn_var": random.uniform(0, 5, 60).astype(np.float32),
        "late_var": random.uniform(0, 6519, 60).astype(np.float32),
        "mask": np.where(np.tri(6, dtype=bool), 0, -np.inf).astype(np.float32),
        "minus_infinity": np.float32(-np.inf),
    }


@pytest.mark.parametrize(
    "ways",
    [
        {"qp": -32, "small_qp": -75, "quantizer": "trellis"},  # NNC's own defaults
        {"qp": -28, "small_qp": -75},
        {"qp": -32, "small_qp": -75, "quantizer": "trellis", "rate_weight": 0.3},
        {"step": 0.01, "small_relative_step": 0.01, "quantizer": "rdo"},
        {"target_bytes": 6000},
        {"target_snr": 25.0, "quantizer": "trellis"},
    ],
    ids=str,
)
def test_networks_of_unlike_scales_are_written(ways, run, tmp_path):
    tree, path = unlike_scales(), tmp_path / "network.npz"
    weight_files.save_tree(path, tree)
    result = compress.main(config_for(path, **ways), run)
    data = (tmp_path / "model.dcb").read_bytes()
    decoded = weight_files.flatten(entropy_coding.decompress(data))
    assert {"mask", "minus_infinity"} <= set(result["stored_exactly"])
    for name in result["stored_exactly"]:
        assert decoded[name].tobytes() == tree[name].tobytes()
    step = 2.0**-8 if "qp" in ways and ways.get("quantizer") == "trellis" else 0.02
    if not ways.get("rate_weight") and "qp" in ways:
        assert np.abs(decoded["w"] - tree["w"]).max() <= 1.51 * step
        assert np.abs(decoded["bn_var"] - tree["bn_var"]).max() < 1e-4
    assert len(data) <= ways.get("target_bytes", 10**6) and result["weight_snr_db"] >= ways.get("target_snr", 0)


def test_the_state_of_an_optimiser_is_no_network(run, tmp_path):
    """Adam's second moments, about 1e-9, would all come back as zero, and be counted in the ratio."""
    weights, random = made_up(), np.random.default_rng(1)
    moments = {
        name: {"fc1": {"kernel": (scale * random.random((60, 80))).astype(np.float32)}}
        for name, scale in {"mu": 1e-4, "nu": 1e-9}.items()
    }
    state = {"params": weights, "opt_state": {"0": {"count": np.int32(5), **moments}}, "step": np.int32(5)}
    sizes = {}
    for choice in ("leave_out", "exact"):
        path = tmp_path / f"{choice}.npz"
        weight_files.save_tree(path, state)
        flags = dataclasses.replace(config_for(path, step=0.02, training_state=choice), output=str(tmp_path / choice))
        result = compress.main(flags, run)
        decoded = weight_files.flatten(entropy_coding.decompress((tmp_path / choice).read_bytes()))
        assert result["training_state"] == {"tensors": 3, "is": choice} and decoded["step"] == 5
        sizes[choice] = result["original_bytes"]
        if choice == "exact":
            np.testing.assert_array_equal(decoded["opt_state/0/nu/fc1/kernel"], moments["nu"]["fc1"]["kernel"])
        else:
            assert not any("opt_state" in name for name in decoded)
    assert sizes["exact"] - sizes["leave_out"] == 2 * 4 * 60 * 80 + 4


def test_nothing_to_compress_is_said(run, tmp_path):
    path = tmp_path / "empty.safetensors"
    weight_files.save_tree(path, {})
    with pytest.raises(ValueError, match="holds no tensors"):
        compress.main(config_for(path, step=0.1), run)


def test_networks_beyond_the_usual_limit_of_a_decoder(model, run, monkeypatch):
    """A file of more than 2.1 G weights is not refused by the check of the very program that wrote it."""
    for function in (entropy_coding.decompress, entropy_coding.inspect):
        function = unwrap(function)  # of the checks of annotations that tests put around it
        monkeypatch.setitem(function.__kwdefaults__, "max_output_bytes", 1000)
    with pytest.raises(ValueError, match="max_output_bytes"):
        entropy_coding.decompress(entropy_coding.compress(made_up()))
    compress.main(config_for(model, target_snr=20.0), run)
    assert pathlib.Path(config_for(model, step=1.0).output).exists()


def test_a_layer_that_is_lost_beside_large_ones_is_named(run, tmp_path, capfd):
    """The ratio of all weights together is that of the largest: a layer of small weights may be gone at 30 dB."""
    random = np.random.default_rng(2)
    tree = {f"w{i}": (scale * random.normal(size=(40, 30))).astype(np.float32) for i, scale in enumerate((100, 0.05))}
    path = tmp_path / "network.npz"
    weight_files.save_tree(path, tree)
    result = compress.main(config_for(path, target_snr=30.0), run)
    assert result["weight_snr_db"] >= 30 and result["zeroed"] == ["w1"]
    assert result["lowest_snr_db"] == {"tensor": "w1", "db": pytest.approx(0.0)}
    assert "nothing but zeros is left of w1" in capfd.readouterr().err and result["status"]["level"] == "doubtful"


def test_folded_statistics_are_not_lost(run, tmp_path):
    """What folding sets to zero was in no file to begin with: a result that named it as lost was doubtful."""
    norm = {"scale": np.ones(60), "bias": np.ones(60), "mean": np.ones(60), "var": np.full(60, 2.0)}
    tree = made_up() | {"norm": {name: array.astype(np.float32) for name, array in norm.items()}}
    weight_files.save_tree(tmp_path / "network.npz", tree)
    result = compress.main(config_for(tmp_path / "network.npz", step=0.02, fold_batch_norm=1e-5), run)
    assert "zeroed" not in result and "status" not in result
