"""Verdicts of many results, by hand."""

from common.publishing import verdicts

GOOD, DOUBTFUL = {"level": "trusted", "reasons": []}, {"level": "doubtful", "reasons": ["few samples"]}
BAD = {"level": "not usable", "reasons": ["stuck", "one state"]}


def test_verdicts_are_counted():
    assert verdicts.count([DOUBTFUL, GOOD, GOOD]) == "2 trusted, 1 doubtful"
    assert verdicts.count([BAD]) == "not usable" and verdicts.count([]) == ""


def test_the_worst_tells_where():
    worst = verdicts.worst({"a": GOOD, "b": BAD, "c": DOUBTFUL})
    assert worst["level"] == "not usable" and worst["reasons"] == ["b: stuck", "b: one state", "c: few samples"]
    assert worst["points"] == {"trusted": 1, "not usable": 1, "doubtful": 1}
    assert verdicts.worst({"c": DOUBTFUL})["points"] == {"trusted": 0, "doubtful": 1}
    assert verdicts.worst({})["level"] == "trusted"


def test_cells_have_the_colour_of_a_level():
    assert verdicts.marked(1.5, "trusted") == {"value": 1.5, "status": "trusted"}
    assert verdicts.marked(None, None) == "\u2014" and verdicts.marked("x", None) == "x"
