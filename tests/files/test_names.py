"""Names that become file names stay in their folder; what is shown stays on its line."""

import pytest

from bayeshnet.builders import MeanFieldWeights, MLPNetwork
from bayeshnet.continual import Separate
from bayeshnet.files import check_file_name, check_line
from bayeshnet.runs import Experiment

BAD = [
    "",
    ".",
    "..",
    ".x",
    " x",
    "a/b",
    "/a",
    "a\\b",
    "C:a",
    "a*",
    "a?",
    "a|b",
    "a\0",
    "a\n",
    "\x1b[2J",
    "x" * 101,
    "\u202e",
]


@pytest.mark.parametrize("name", BAD)
def test_names_that_are_refused(name):
    with pytest.raises(ValueError, match="method: expected"):
        check_file_name("method", name)
    for argument in ("method", "data") if name != "C:a" else ("method",):  # of data it is a function of a module
        with pytest.raises(ValueError, match=f"{argument}: expected"):
            Experiment(Separate(MLPNetwork((4,)), MeanFieldWeights()), device="cpu", **{argument: name})


@pytest.mark.parametrize("name", [None, 3, b"x", ["a"]])
def test_what_is_no_text_is_refused(name):
    with pytest.raises(TypeError, match="method: expected text"):
        check_line("method", name)


@pytest.mark.parametrize("name", ["posterior-replay", "ours (β = 0.1)", "a.b", "[x]", "$x$", "x" * 100])
def test_names_that_are_accepted(name):
    assert check_file_name("method", name) == name
    assert (
        Experiment(Separate(MLPNetwork((4,)), MeanFieldWeights()), "modes2d", method=name, device="cpu").method == name
    )


def test_threads_are_bounded():
    learner = Separate(MLPNetwork((4,)), MeanFieldWeights())
    assert Experiment(learner, threads=1024).threads == 1024
    with pytest.raises(ValueError, match="threads: expected an integer from 1 to 1024"):
        Experiment(learner, threads=10**9)
