"""The README's attack of a scikit-learn classifier, in ten lines, runs; its tables are those of the results."""

import re

import numpy as np
import pytest

from projects.levy_attack.page import page


@pytest.mark.slow
def test_the_example_of_the_page_attacks_a_scikit_learn_classifier():
    text = (page.folder / "README.md").read_text()
    example = re.search(r"<!-- example: run by the tests -->\n```python\n(.*?)```", text, re.DOTALL)[1]
    assert len([line for line in example.splitlines() if line]) <= 10
    names: dict = {}
    exec(example.replace("budget=2000", "budget=300"), names)
    result, classifier = names["result"], names["classifier"]
    assert np.all(classifier.predict(result.x_adv) != names["labels"])
    assert np.all(result.queries == 300) and set(result.status) == {"budget"}
    assert np.all(result.x_adv >= 0) and np.all(result.x_adv <= 1)


def test_the_page_shows_the_published_results():
    text = (page.folder / "README.md").read_text()
    assert page.rendered(text) == text, "python -m projects.levy_attack.study --render_readme"
