"""The language with a known truth, relevance of its characters, coloured text, and the verb at a tiny size."""

import html
import re

import numpy as np
import pytest

from common import config
from common.publishing import html_parts, report
from common.runs import run_directory
from projects.attribution import agreement, characters, explain_text, text


def test_a_sentence_is_what_is_said_of_it():
    for others in agreement.OTHERS:
        for sentence in agreement.sentences(200, 3, others=others):
            words = sentence.text.rstrip(".").split()
            subject, verb = words[2 if words[1] in agreement.ADJECTIVES else 1], words[-1]
            assert sentence.text[sentence.subject] == subject + " "
            assert sentence.is_singular == (subject in agreement.NOUNS) == (verb not in agreement.VERBS)
            assert sentence.text[: sentence.stem_end + 1].endswith(
                verb.removesuffix("s" if sentence.is_singular else "")
            )
            ending = agreement.SINGULAR if sentence.is_singular else agreement.PLURAL
            assert sentence.text[sentence.stem_end + 1] == ending and len(sentence.text) <= agreement.LONGEST
            alike = [
                (sentence.text[place].strip() in agreement.NOUNS) == sentence.is_singular for place in sentence.between
            ]
            assert others == "any" or set(alike) <= {others == "same"}


def test_draws_hang_on_the_seed_alone_and_pass_over_what_was_seen():
    first = agreement.sentences(300, 5)
    assert first == agreement.sentences(300, 5) and first != agreement.sentences(300, 6)
    texts = {sentence.text for sentence in first}
    assert len(texts) == 300
    assert not texts & {sentence.text for sentence in agreement.sentences(300, 5, without=texts)}
    # Numbers are alike often: 150 of 300, and 4.9 standard deviations on each side.
    assert 107 < sum(sentence.is_singular for sentence in first) < 193
    assert {len(sentence.between) for sentence in first} == {0, 1, 2}
    with pytest.raises(ValueError, match="0 to 2 nouns"):
        agreement.sentences(1, 0, between=3)
    with pytest.raises(ValueError, match="any, opposite, same"):
        agreement.sentences(1, 0, others="none")
    with pytest.raises(ValueError, match="draws there are"):
        agreement.sentences(2 * 10 * 5 * 8 + 1, 0, between=0)


def test_characters_are_numbered():
    array = agreement.encoded(["the dog runs."])
    assert array.shape == (1, agreement.LONGEST + 1) and array.dtype == np.int32
    assert "".join(agreement.CHARACTERS[number] for number in array[0]).rstrip("\n") == "the dog runs."
    with pytest.raises(ValueError, match="the character 'q'"):
        agreement.encoded(["quit."])


def test_shares_by_hand():
    (sentence,) = agreement.sentences(1, 0, between=1, others="opposite")
    relevance = np.zeros((1, agreement.LONGEST))
    relevance[0, sentence.subject.start], relevance[0, sentence.between[0].start] = -3.0, 1.0
    relevance[0, 0] = 100.0  # beside the nouns
    np.testing.assert_allclose(characters.subject_shares(relevance, [sentence]), [0.75])
    relevance[0, sentence.subject.start + 1] = 2.0
    np.testing.assert_allclose(characters.subject_shares(relevance, [sentence]), [5 / 6])
    np.testing.assert_allclose(characters.subject_shares(relevance, [sentence], net=True), [0.5])
    nothing = characters.subject_shares(0 * relevance, [sentence])
    assert np.isnan(nothing).all() and characters.summary(nothing) == {
        "mean": None, "low": None, "high": None, "without": 1,
    }  # fmt: skip
    summary = characters.summary(np.array([0.5, 0.7, np.nan]))
    assert summary["mean"] == pytest.approx(0.6) and summary["low"] < 0.5 and summary["without"] == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    settings = explain_text.ExplainTextConfig(
        width=0.125, blocks=1, sentences=64, epochs=1, batch_size=32, count=6, tested=8, shown=2
    )
    result = explain_text.main(settings, run_directory.open_for_test(folder))
    (folder / "flags.txt").write_text(config.flags_text(settings))
    return folder, settings, result


def test_the_verb_measures_and_shows(finished):
    folder, settings, result = finished
    assert set(result["subject_share"]) == set(characters.METHODS)
    assert set(result["accuracy"]) == {"attractors_0", "attractors_1", "attractors_2"}
    assert result["status"]["level"] == "not usable" and "there is nothing to explain" in result["status"]["reasons"][0]
    assert result["subject_share"]["random"]["low"] < 0.5 < result["subject_share"]["random"]["high"]
    (folder / "meta.json").write_text('{"verb": "attribution.explain_text", "status": "finished"}')
    page = report.write([folder]).read_text()
    assert "What the verb hangs on" in page and "is not shown" not in page and "is not a part" not in page
    assert page.count("<h4>") == len(characters.METHODS)
    assert page.count('<span style="background:') > 4 * 2 * 20


@pytest.mark.parametrize(
    ("share", "low", "level"), [(0.55, 0.5, "not usable"), (0.8, 0.7, "doubtful"), (0.95, 0.9, None)]
)
def test_a_network_at_chance_cannot_be_explained(share, low, level):
    row = {"share": share, "low": low, "high": 1.0}
    status = explain_text.doubts({"attractors_0": row | {"share": 0.99}, "attractors_1": row}).get("status", {})
    assert status.get("level") == level


def test_an_earlier_network_is_opened(finished, tmp_path):
    folder, settings, result = finished
    again = explain_text.ExplainTextConfig(
        checkpoint=str(folder), count=6, tested=8, shown=2, methods=("gradient_times_input", "random")
    )
    opened = explain_text.main(again, run_directory.open_for_test(tmp_path))
    assert opened["accuracy"] == result["accuracy"] and opened["values"] == result["values"]
    for name in again.methods:
        for key in ("mean", "low", "high"):
            assert opened["subject_share"][name][key] == pytest.approx(result["subject_share"][name][key], rel=1e-4)


def test_relevance_starts_from_the_difference_of_the_endings():
    """At the verb's stem, and nothing behind it has any."""
    module = characters.create(0, width=0.125, blocks=1)
    network, tree = characters.functions(module), characters.models.to_tree(module)
    sentences = agreement.sentences(3, 1, between=1, others="opposite")
    expected = np.asarray(network.whole(tree, agreement.encoded([one.text for one in sentences])[:, :-1]))
    s, stop = (agreement.CHARACTERS.index(ending) for ending in (agreement.SINGULAR, agreement.PLURAL))
    difference = [
        expected[row, one.stem_end, s] - expected[row, one.stem_end, stop] for row, one in enumerate(sentences)
    ]
    for name in ("cp_lrp", "gradient_times_input", "random"):
        contrast, relevance = characters.explain(name, network, tree, sentences)
        np.testing.assert_allclose(contrast, difference, atol=1e-5)
        assert relevance.shape == (3, agreement.LONGEST)
        for row, sentence in enumerate(sentences):
            assert not relevance[row, sentence.stem_end + 1 :].any() and relevance[row, : sentence.stem_end + 1].any()


def test_text_is_coloured_and_escaped():
    pieces = ["<b>", "&", " ", "a"]
    markup = text.coloured(pieces, np.array([1.0, -1.0, 0.0, 0.5]))
    assert "<b>" not in markup and html.escape("<b>") in markup and ">&amp;<" in markup
    grounds = re.findall(r"background:(#\w+)", markup)
    assert grounds[:3] == ["#ff0000", "#0000ff", "#fdfdff"]  # zero is a 256th of the map from its centre
    assert html_parts.rebuilt(markup)
    with pytest.raises(ValueError, match="one number for each of 2 pieces"):
        text.coloured(["a", "b"], np.zeros(3))


@pytest.mark.parametrize("cmap", ["bwr", "coldnhot", "seismic", "gray"])
def test_every_character_can_be_read(cmap):
    """At least the contrast of 4.5 that WCAG asks of text: black or white has it on any ground."""
    for ground in text.colours(np.linspace(-1, 1, 101), cmap):
        share = ground / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        luminance = linear @ [0.2126, 0.7152, 0.0722]
        front = 1.0 if text.ink(ground) == "#fff" else 0.0
        assert (max(luminance, front) + 0.05) / (min(luminance, front) + 0.05) >= 4.5


@pytest.mark.parametrize(("changes", "words"), [({"cmap": "rainbow"}, "coldnhot"), ({"methods": ()}, "--methods")])
def test_a_wrong_flag_is_told(changes, words):
    with pytest.raises(config.FlagError, match=words):
        explain_text.ExplainTextConfig(**changes)
