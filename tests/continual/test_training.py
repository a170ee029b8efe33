"""Settings of training: checks, and the name that the number of samples had before."""

from dataclasses import replace

import pytest

from bayeshnet.commands.parser import parse_run
from bayeshnet.continual import Training


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"num_samples": 0}, {"lr": 0.0}, {"beta": -1.0}, {"max_norm": 0.0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))}: expected"):
        Training(**wrong)


def test_the_old_name_of_the_number_of_samples():
    with pytest.warns(DeprecationWarning, match="num_latents is deprecated: use num_samples"):
        training = Training(num_latents=3)
    assert training == Training(num_samples=3)
    assert replace(training, steps=5).num_samples == 3
    assert "num_latents" not in repr(training)


def test_a_configuration_saved_under_the_old_name_is_read(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("learner: {init_args: {training: {num_latents: 7}}}\n", encoding="utf-8")
    with pytest.warns(DeprecationWarning, match="num_latents is deprecated"):
        request = parse_run(["--config", str(file)])
    assert request.experiment.learner.training.num_samples == 7
    (tmp_path / "saved.yaml").write_text(request.config, encoding="utf-8")
    with pytest.warns(DeprecationWarning, match="num_latents is deprecated"):
        again = parse_run(["--config", str(tmp_path / "saved.yaml")])
    assert again.experiment.learner.training == request.experiment.learner.training
    assert parse_run([]).experiment.learner.training.num_samples == 6
