"""The contract of exact heads: a subclass says how to make one, and inherits all tests."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ..exact import ExactHead
from ..saving import load_checkpoint, save_checkpoint

__all__ = ["HeadContract"]

_SIZE, _COUNT = 5, 60


class HeadContract(ABC):
    """All that an exact head of classes must do, as tests: any order, any batches, merging, new classes, refusals.

    A subclass whose name begins with ``Test`` implements :meth:`make`. The sums of the head are compared with those of
    all examples at once.

    Example:
        >>> from bayeshnet.exact import BayesianLinearHead
        >>> class TestMine(HeadContract):
        ...     def make(self, num_features):
        ...         return BayesianLinearHead(num_features)
        >>> TestMine().test_a_stream_in_any_order_gives_what_one_batch_gives()
    """

    @abstractmethod
    def make(self, num_features: int) -> ExactHead:
        """Return a head of classes that has learned nothing and forgets nothing."""

    @staticmethod
    def examples() -> tuple[Tensor, Tensor, Tensor]:
        """Return features and classes of examples, and features of new inputs."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(_COUNT, _SIZE, generator=generator)
        y = torch.randint(4, (_COUNT,), generator=generator) * 10 - 10
        return x, y, torch.randn(7, _SIZE, generator=generator)

    def close(self, first: ExactHead, second: ExactHead, tolerance: float = 1e-10) -> None:
        """Compare two heads."""
        assert torch.equal(first.labels, second.labels)
        for name in ("gram", "cross", "square"):
            a, b = getattr(first, name), getattr(second, name)
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)
        new = self.examples()[2]
        torch.testing.assert_close(first.log_probs(new), second.log_probs(new), rtol=1e-8, atol=1e-8)

    def test_a_stream_in_any_order_gives_what_one_batch_gives(self) -> None:
        x, y, _ = self.examples()
        whole, stream = self.make(_SIZE).update(x, y), self.make(_SIZE)
        for part in torch.randperm(_COUNT, generator=torch.Generator().manual_seed(1)).split(7):
            stream.update(x[part], y[part])
        self.close(whole, stream)
        assert whole.labels.tolist() == [-10, 0, 10, 20]
        assert whole.count == _COUNT

    def test_sums_are_those_of_the_examples(self) -> None:
        x, y, _ = self.examples()
        head = self.make(_SIZE).update(x, y)
        wide = torch.cat([x, torch.ones(_COUNT, 1)], 1).double()
        one = (y[:, None] == torch.tensor([-10, 0, 10, 20])).double()
        torch.testing.assert_close(head.gram, wide.T @ wide)
        torch.testing.assert_close(head.cross, wide.T @ one)
        torch.testing.assert_close(head.square, one.sum(0))

    def test_two_heads_add(self) -> None:
        x, y, _ = self.examples()
        low, high = y < 5, y > -5
        first, second = self.make(_SIZE).update(x[low], y[low]), self.make(_SIZE).update(x[high], y[high])
        before = copy.deepcopy(first)
        both = self.make(_SIZE).update(torch.cat([x[low], x[high]]), torch.cat([y[low], y[high]]))
        self.close(first.merge(second), both)
        self.close(second.merge(first), both)
        assert torch.equal(first.gram, before.gram)
        with pytest.raises(ValueError, match=r"other: expected a head with the settings"):
            first.merge(self.make(_SIZE + 1))
        with pytest.raises(TypeError, match=r"other: expected a"):
            first.merge(torch.nn.Linear(2, 2))  # type: ignore[arg-type]

    def test_bad_input_is_refused_and_nothing_is_lost(self) -> None:
        x, y, _ = self.examples()
        head = self.make(_SIZE).update(x, y)
        before = copy.deepcopy(head)
        bad = x.clone()
        bad[3, 2] = float("nan")
        for features, targets, message in [
            (bad, y, "features: expected finite features"),
            (x[:, :4], y, "features: expected a tensor of shape"),
            (x, y[:5], "y: expected a tensor of shape"),
            (x, y.float(), "y: expected classes, as integers"),
            (x.long(), y, "features: expected floating features"),
        ]:
            with pytest.raises((ValueError, TypeError), match=message):
                head.update(features, targets)
        self.close(head, before, 0)
        with pytest.raises(ValueError, match=r"features: expected finite features"):
            head.log_probs(bad)

    def test_singular_features_and_classes_of_one_example(self) -> None:
        """Two equal features, one of zeros, fewer examples than features, and a class that came once."""
        x = torch.randn(40, 50, generator=torch.Generator().manual_seed(5)).double()
        x[:, 1], x[:, 2] = x[:, 0], 0.0
        y = torch.arange(40) % 2
        y[-1] = 2
        x[-1] += 5
        x[y == 1, 0:2] += 4
        head = self.make(50).update(x, y)
        probs = head.log_probs(x)
        assert bool(probs.isfinite().all())
        assert head.labels[probs.argmax(1)].tolist() == y.tolist()

    def test_left_out_scores_are_those_of_a_fit_without_the_example(self) -> None:
        """Up to settings that a head chooses by its examples; scores of examples that were learned are far off."""
        generator = torch.Generator().manual_seed(7)
        x = torch.randn(40, 20, generator=generator).double()
        y = (x[:, 0] + torch.randn(40, generator=generator) > 0).long()
        head = self.make(20).update(x, y)
        rest = [torch.arange(40) != number for number in range(40)]
        anew = torch.cat([self.make(20).update(x[r], y[r]).log_probs(x[~r]) for r in rest])
        left_out = head.left_out_logits(x, y).log_softmax(1)
        learned, formula, truth = (-p[torch.arange(40), y].mean() for p in (head.log_probs(x), left_out, anew))
        assert abs(formula - truth) < 0.4 * (truth - learned)
        margins = torch.stack([p[:, 1] - p[:, 0] for p in (left_out, anew)])
        assert torch.corrcoef(margins)[0, 1] > 0.95

    def test_one_class_has_probability_one(self) -> None:
        x, _, new = self.examples()
        head = self.make(_SIZE).update(x[:5], torch.full((5,), 3))
        torch.testing.assert_close(head.log_probs(new), torch.zeros(7, 1, dtype=torch.float64))
        with pytest.raises(ValueError, match=r"features: expected a head that has learned"):
            self.make(_SIZE).log_probs(new)

    def test_it_is_saved_and_loaded_and_keeps_its_precision(self, tmp_path: Path) -> None:
        x, y, _ = self.examples()
        head, loaded = self.make(_SIZE).update(x, y), self.make(_SIZE)
        save_checkpoint(tmp_path / "head", head)
        load_checkpoint(tmp_path / "head", loaded)
        self.close(loaded, head, 0)
        assert loaded.to(torch.float32).gram.dtype == torch.float64
        self.close(loaded, head, 0)
