"""What runs say of themselves: collapse, lost halves and their cures, forbidden states, pages, records of old files."""

import dataclasses
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common import app, config, files
from common.publishing import report
from common.runs import run_directory
from kernels import ising
from kernels.autoregressive import Proposal, estimate, estimates, network_law, record
from kernels.autoregressive.record import NOT_RECORDED, status_of, window_records
from kernels.ising import energies
from kernels.ising import systems as ising_systems
from projects.van import plots, records, sample, systems, train, training_step, weights
from projects.van.config import TrainConfig, network_of
from projects.van.sample import SampleConfig
from projects.van.solve import solve

HALF = TrainConfig(system="sk", rows=1, columns=8, network="made", depth=1, channels=1, z2=False, beta=0.8)


@pytest.fixture(scope="module")
def tilted():
    """(parameters, network, system) of free spins that lean up, q(up) = 0.9 but for the first: no state is out of
    reach, and what is lost is not lost for ever."""
    network, system = network_of(HALF), systems.create(HALF)
    parameters = jax.tree.map(np.zeros_like, weights.fresh(network, 0))
    parameters["layer_0"]["bias"] = np.full_like(parameters["layer_0"]["bias"], math.log(9))
    return parameters, network, system


def collapsed(parameters, size=40.0):
    """Biases that leave next to no choice."""
    return jax.tree.map(lambda leaf: np.sign(leaf) * np.float32(size), parameters)


def test_a_collapsed_network_is_not_usable(tilted, tmp_path):
    """ESS 1 and ln Z +- 0 without a word, says what stands in every place: return value, result, page, line."""
    parameters, _, system = tilted
    network = network_of(dataclasses.replace(HALF, z2=True))
    with pytest.warns(UserWarning, match="not usable: .* of its errors off the exact value"):
        outcome = estimate(
            Proposal([network_law(collapsed(parameters), network)]), system, 0.8, 2000, key=jax.random.key(0)
        )
    assert (
        outcome.corrected.ess == pytest.approx(1)
        and outcome.status.level == outcome.corrected.status.level == "not usable"
    )
    assert any("samples cover about 2 states" in reason for reason in outcome.status.reasons)
    assert outcome.corrected.ln_z_err == math.inf and all(error == math.inf for _, error in outcome.chain.values())
    result = files.clean(record(outcome))
    json.dumps(result, allow_nan=False)
    for row in result["estimates"].values():
        assert row["nis_error"] is row["nis_jackknife_error"] is row.get("raw_error") is row.get("nmcmc_error") is None
        assert row["nis_status"] == "not usable" == row.get("nmcmc_status", "not usable")
    assert result["status"]["level"] == "not usable" and result["integrated_time"] is None
    assert records.line(result).startswith("ln Z ") and "± \u2014" in records.line(result)
    assert "not usable: " in records.line(result)
    run = run_directory.open_for_test(tmp_path)
    run.table("estimates", *records.table(result, "Estimates"))
    plots.draw_run(run, outcome)
    run.note(status="finished", verb="van.train")
    files.write_json(tmp_path / "result.json", result)
    page = report.write([tmp_path]).read_text()
    assert '<b class="unusable">finished, not usable</b>' in page and '<b class="finished">' not in page
    assert "Result: not usable" in page and 'unusable">\u2014</td>' in page


def test_a_good_network_is_trusted_everywhere(tmp_path):
    """The uniform law at beta 0.1 of eight spins."""
    network, system = network_of(HALF), systems.create(HALF)
    uniform = jax.tree.map(np.zeros_like, weights.fresh(network, 0))
    outcome = estimate(Proposal([network_law(uniform, network)]), system, 0.1, 5000, key=jax.random.key(0))
    assert outcome.status == ("trusted", (), ("samples of p",)) and outcome.corrected.k_hat < 0.7
    assert {status.level for status in outcome.chain_statuses.values()} == {"trusted"}
    result = files.clean(record(outcome))
    assert outcome.status.level in records.line(result) and "not looked at" not in records.line(result)
    columns, rows, _, note = records.table(result, "Estimates")
    assert [row[columns.index("status")] for row in rows] == [{"value": "trusted", "status": "trusted"}] * len(rows)
    assert "k-hat" in note and "samples of p" in note
    run = run_directory.open_for_test(tmp_path)
    run.table("estimates", *records.table(result, "Estimates"))
    run.note(status="finished", verb="van.train")
    files.write_json(tmp_path / "result.json", result)
    assert '<b class="trusted">finished, trusted</b>' in report.write([tmp_path]).read_text()


def test_a_window_knows_what_the_network_lost(tilted):
    """Reweighted to other beta the same samples were trusted, as none of them is down. Reasons stand below a table."""
    parameters, network, _ = tilted
    up = ising_systems.of_energy(lambda spins: -3.0 * jnp.abs(spins.sum((1, 2))), 1, 8)
    leaning = Proposal([network_law(jax.tree.map(lambda leaf: leaf + np.float32(0.05), parameters), network)])
    betas, key = (0.7, 0.75), jax.random.key(1)
    options = {"key": key, "chunk": 4000, "betas": betas}
    window = estimates.begin_window(leaning, up, 0.8, **options)
    _, streams = next(estimates.window_chunks(leaning, up, 0.8, 4000, window=window, **options))
    rows = window_records(streams, betas, leaning, up, key=key, count=4000)
    assert all(row["status"] == "not usable" and "mirror image" in row["reasons"] for row in rows)
    assert all(row["ln_z_error"] is None for row in rows)
    columns, cells, _, note = records.window_table(rows, "Window")
    assert all(len(row) == len(columns) <= 12 for row in cells) and "reasons" not in columns
    assert cells[0][columns.index("ln Z")]["value"].endswith("± \u2014") and note.startswith("beta 0.7: ")


@pytest.mark.slow
def test_the_runs_that_were_seen(tmp_path):
    """As they were typed: a rate of 1000; a cold lattice without z2 or annealing; 300 steps, to 0.45 of beta."""
    collapse = TrainConfig(
        rows=3, columns=4, beta=0.3, learning_rate=1000.0, steps=20, anneal=0.0, batch_size=20, depth=2, channels=3,
        half_width=2,
    )  # fmt: skip
    cold = TrainConfig(
        rows=4, z2=False, beta=1.0, anneal=0.0, steps=300, depth=2, channels=8, half_width=3, batch_size=100,
        learning_rate=0.01,
    )  # fmt: skip
    hasty = TrainConfig(
        rows=8, beta=0.44, anneal=0.998, steps=300, depth=3, channels=16, half_width=3, batch_size=100,
        evaluate_every=300,
    )  # fmt: skip
    for name, settings in (("collapse", collapse), ("cold", cold), ("hasty", hasty)):
        result = train.main(settings, run_directory.open_for_test(tmp_path / name))
        assert result["status"]["level"] == "not usable", name
        assert all(row["nis_error"] is None for row in result["estimates"].values()), name
    assert result["final_beta"] == pytest.approx(0.4515 * 0.44, rel=1e-3)


def test_what_a_chain_cannot_know_has_no_error(tilted):
    """Beside weights that are not usable it stood with a finite one, in a row that said so."""
    parameters, network, system = tilted
    with pytest.warns(UserWarning, match="not usable"):
        outcome = estimate(Proposal([network_law(parameters, network)]), system, 3.0, 2000, key=jax.random.key(0))
    assert {status.level for status in outcome.chain_statuses.values()} == {"not usable"}
    assert all(error == math.inf for _, error in outcome.chain.values())
    result = record(outcome)
    for row in result["estimates"].values():
        assert row["nis_error"] is row.get("nmcmc_error") is None
    columns, rows, _, note = records.table(result, "Estimates")
    far = [row[k] for row in rows for k, name in enumerate(columns) if name == "sigma off" and 2 < k < 9]
    assert set(far) == {""} and "because there is none" not in note


def test_samples_of_p_that_are_not_usable_are_not_said_to_be_missing(tmp_path):
    """The page had ln Z from them in one sentence and "there is none" in the next."""
    settings = dataclasses.replace(HALF, system="square", rows=3, columns=3, z2=True, beta=0.44)
    network, system = network_of(settings), systems.create(settings)
    with pytest.warns(UserWarning, match="not usable"):
        outcome = estimate(
            Proposal([network_law(collapsed(weights.fresh(network, 0)), network)]),
            system,
            0.44,
            500,
            key=jax.random.key(0),
        )
    assert outcome.reverse.status.level == "not usable"
    assert outcome.status.unchecked == ("samples of p (what they say is not usable)",)
    note = records.note(record(outcome))
    assert "Could not be looked at: samples of p (what they say is not usable)." in note and "none" not in note
    run = run_directory.open_for_test(tmp_path)
    plots.draw_comparison(run, outcome)
    caption = (run.plots / "correction.txt").read_text()
    assert caption.startswith("Differences from the exact value.") and "Swendsen-Wang" not in caption, "|M| is exact"


def test_large_k_hat_of_light_tails_is_explained_on_the_page(tilted):
    """ "k-hat 2.46" stood beside "trusted": its heaviest sample has 3 mean weights."""
    _, network, system = tilted
    uniform = jax.tree.map(np.zeros_like, weights.fresh(network, 0))
    outcome = estimate(Proposal([network_law(uniform, network)]), system, 0.1, 2000, key=jax.random.key(0))
    assert "mean weights" not in records.note(record(outcome))
    large = dataclasses.replace(outcome, corrected=outcome.corrected._replace(k_hat=2.46, largest_share=0.0015))
    assert "k-hat 2.46 (large, but the heaviest sample has 3 mean weights, too few for a tail" in records.note(
        record(large)
    )


def hard_squares(spins):
    """Particles (up) with no two neighbours on an open lattice, and a chemical potential."""
    up = spins > 0
    clash = (up[:, 1:] & up[:, :-1]).any((1, 2)) | (up[:, :, 1:] & up[:, :, :-1]).any((1, 2))
    return jnp.where(clash, jnp.inf, -1.0 * up.sum((1, 2)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:doubtful")
def test_hard_constraints_from_training_to_estimates():
    """Energies of +inf among the samples that are drawn: ln Z and U of hard squares on 3 x 3 by enumeration; the
    network's own bound is -inf and is not stated."""
    outcome = solve(
        hard_squares, 1.0, 3, 3, depth=2, channels=6, half_width=2, z2=False, steps=120, batch_size=100,
        learning_rate=2e-2, evaluate_every=120, evaluation_samples=200, samples=6000,
    )  # fmt: skip
    states = np.concatenate(list(ising.states(9))).reshape(-1, 3, 3)
    energy = np.asarray(hard_squares(jnp.asarray(states)), np.float64)
    weights = np.exp(-energy)
    truth, u = math.log(weights.sum()), np.sum(weights * np.where(np.isinf(energy), 0, energy)) / weights.sum()
    assert outcome.corrected.zeros > 0 and np.isfinite(energy).sum() == 63
    assert abs(outcome.corrected.ln_z - truth) < 6 * outcome.corrected.ln_z_err < 0.2
    assert abs(outcome.corrected.mean["energy"] - u) < 6 * outcome.corrected.err["energy"]
    assert abs(outcome.chain["u"][0] * 9 - u) < 6 * 9 * outcome.chain["u"][1] < 1
    result = record(outcome)
    assert result["forbidden_samples"] == outcome.corrected.zeros
    assert result["estimates"]["ln_z"]["raw"] is None and result["estimates"]["entropy"]["raw"] is not None
    assert "forbidden" in records.note(record(outcome))


def test_a_network_that_only_draws_forbidden_states_is_refused(tmp_path):
    settings = TrainConfig(
        system="sk", rows=1, columns=8, network="made", depth=1, channels=1, batch_size=20, steps=2, evaluate_every=2,
        evaluation_samples=20, z2=False,
    )  # fmt: skip

    def rarely(value):
        """`value` in 28 of 256 states, of which none is tried at the door."""
        return ising_systems.of_energy(
            lambda spins: jnp.where(spins.sum((1, 2)) == 4, value, 0.1 * spins.sum((1, 2))), 1, 8
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            ising_systems, "trial_states", lambda rows, columns: np.ones((ising_systems.TRIALS, rows, columns), np.int8)
        )
        with pytest.raises(ValueError, match="energy .user's energy.*28 of them nan or -inf"):
            rarely(jnp.nan).exact(1.0)  # all states are looked at
        patch.setattr(ising_systems, "MOST_ENUMERATED_FUNCTION", 0)  # as of a large system
        for value, name in ((jnp.nan, "nan"), (-jnp.inf, "-inf")):
            wrong = rarely(value)
            with pytest.raises(ValueError, match=f"the energy .user's energy. is {name} in .* of .* states"):
                train.fit(dataclasses.replace(settings, steps=1), wrong, run_directory.open_for_test(tmp_path / name))
    nothing = ising_systems.of_energy(lambda spins: jnp.full(len(spins), jnp.inf), 1, 8)
    with pytest.raises(ValueError, match="forbids every state"):
        nothing.exact(1.0)
    nothing = dataclasses.replace(nothing, exact=lambda beta: None)  # as of a large system
    with pytest.raises(ValueError, match="all 20 samples of the network are forbidden.*--start_from"):
        train.fit(settings, nothing, run_directory.open_for_test(tmp_path))


CURED = TrainConfig(
    system="sk", rows=1, columns=8, network="made", depth=1, channels=1, bias=False, z2=False, beta=1.0, batch_size=200,
    steps=40, learning_rate=2e-2, evaluate_every=40, evaluation_samples=100, final_samples=4000, images=2,
    defended=True,
)  # fmt: skip


@pytest.fixture(scope="module")
def cured(tmp_path_factory):
    run = run_directory.open_for_test(tmp_path_factory.mktemp("cured"))
    (run.path / "flags.txt").write_text(config.flags_text(CURED))
    return train.main(CURED, run), run


@pytest.mark.slow
def test_training_with_the_cures(cured):
    """--images and --defended: the network alone stands beside the mixture, and its networks lie in the run."""
    result, run = cured
    ln_z = result["estimates"]["ln_z"]
    assert abs(ln_z["nis"] - ln_z["exact"]) < 6 * ln_z["nis_error"] < 0.5
    assert {"network_ess", "network_k_hat", "network_status"} <= set(result) and result["final_beta"] == 1.0
    assert len(list(run.path.glob("wider_*.safetensors"))) == len(training_step.WIDER)


@pytest.mark.slow
def test_sampling_with_the_cures(cured, tmp_path):
    """From the networks that the training left, and from other trainings by name."""
    _, run = cured
    settings = SampleConfig(checkpoint=str(run.path), samples=3000, chunk=500, defended=True, images=2)
    result = sample.main(settings, run_directory.open_for_test(tmp_path / "one"))
    ln_z = result["estimates"]["ln_z"]
    assert abs(ln_z["nis"] - ln_z["exact"]) < 6 * ln_z["nis_error"] < 0.5 and "network_ess" in result
    named = dataclasses.replace(settings, defended=False, images=1, defence=(str(run.path / "wider_0.safetensors"),))
    other = sample.main(named, run_directory.open_for_test(tmp_path / "two"))
    assert abs(other["estimates"]["ln_z"]["nis"] - ln_z["exact"]) < 6 * other["estimates"]["ln_z"]["nis_error"]
    with pytest.raises(ValueError, match="chunk=4: a mixture of 4 networks needs at least 6"):
        sample.main(dataclasses.replace(settings, chunk=4), run_directory.open_for_test(tmp_path / "three"))


def test_a_defence_that_is_not_there(tmp_path):
    (tmp_path / "plain").mkdir()
    settings = SampleConfig(checkpoint=str(tmp_path / "plain"), defended=True)
    with pytest.raises(ValueError, match="--defended: .* holds no wider_"):
        sample.defence_of(settings, network_of(HALF), run_directory.open_for_test(tmp_path / "run"))
    other = dataclasses.replace(settings, defended=False, defence=(str(tmp_path / "none.safetensors"),))
    with pytest.raises(FileNotFoundError):
        sample.defence_of(other, network_of(HALF), run_directory.open_for_test(tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "plateau", "cosine"])
def test_solve_in_64_bit_mode(schedule):
    """Training and schedules, which refused their own state."""
    with jax.enable_x64(True):
        outcome = solve(
            lambda spins: energies.square(spins), 0.3, 3, depth=2, channels=4, half_width=2, steps=60, batch_size=100,
            learning_rate=1e-2, schedule=schedule, warmup=5, averaging=0.9, evaluate_every=60, samples=3000,
        )  # fmt: skip
    exact = ising.kaufman_torus(3, 3, 0.3)
    assert abs(outcome.corrected.ln_z - exact.ln_z) < 6 * outcome.corrected.ln_z_err < 0.5


def test_an_old_run_directory_is_refused_with_the_reason(tmp_path, capsys):
    """One that was begun when --anneal=0.998 was the default: its flags say so, and other ones are asked for now."""
    (tmp_path / "meta.json").write_text(
        json.dumps({"format": run_directory.FORMAT, "verb": "van.train", "status": "interrupted", "starts": [{}]})
    )
    (tmp_path / "flags.txt").write_text("--anneal=0.998\n--rows=3\n--steps=4\n")
    with pytest.raises(SystemExit) as stop:
        app._run(train.main, TrainConfig, ["train", "--rows=3", "--steps=4", f"--run_dir={tmp_path}"], False)
    assert stop.value.code == 2
    refusal = capsys.readouterr().err
    assert "other flags" in refusal and "--anneal (0.998 there, none now)" in refusal


def test_the_status_of_files_that_have_none():
    """Worked out from what they hold: effective samples, the heaviest, exact values, samples of p; k-hat is not."""
    row = {
        "samples": 10_000, "ess": 0.3, "largest_share": 0.01, "beta": 0.5,
        "estimates": {
            "ln_z": {"nis": 8.0, "nis_error": 0.01, "exact": 8.01, "raw": 7.5, "raw_error": 0.01},
            "free_energy": {"nis": -1.0, "nis_error": 0.001, "raw": -0.9, "raw_error": 0.001},
            "entropy": {"nis": 0.5, "nis_error": 0.01, "raw": 0.5, "raw_error": 0.01},
        },
    }  # fmt: skip
    status = status_of(row)
    assert status["level"] == "trusted" and NOT_RECORDED in status["unchecked"]
    off = json.loads(json.dumps(row))
    off["estimates"]["ln_z"]["exact"] = 8.07
    assert status_of(off)["level"] == "doubtful" and "7 of its errors" in status_of(off)["reasons"][0]
    few = row | {"ess": 0.0005}
    assert status_of(few)["level"] == "not usable"
    apart = row | {"reverse_ln_z": 8.7, "reverse_ln_z_error": 0.02}
    assert status_of(apart)["level"] == "not usable"
    assert status_of(row | {"status": {"level": "doubtful", "reasons": ["x"]}})["reasons"] == ["x"]


def test_a_flag_that_train_does_not_have():
    with pytest.raises(ValueError, match="stepz=50 is no flag of train; did you mean steps"):
        solve(lambda spins: spins.sum((1, 2)), 1.0, 2, stepz=50)
