"""The page "Mutants of the mathematics" from the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from mutant_sites import Mutant

__all__ = ["write_page"]

PAGE = """.. This page is written by benchmarks/mutants.py. Do not edit it: run the script.

Mutants of the mathematics
==========================

.. code-block:: console

   $ python benchmarks/mutants.py --number {number} --seed {seed} --page docs/results/mutants.rst

Do the tests notice a wrong formula? A mutant is one small change of one file of the mathematics: an operator, a
comparison, a constant, a branch, a function of a pair such as ``sum`` and ``mean``, a term or a ``detach`` left out.
{number} of them were drawn, each was judged by the tests that execute the changed lines, and a mutant is caught if one
fails or takes far longer than before. Changes that change no result are told apart by reading them. Tests were added
for survivors of this draw, so the share says less about other mutants than another ``--seed`` does.

.. csv-table:: Mutants by kind of change
   :header: "kind", "mutants", "caught", "equivalent", "survived"

{table}

Of {others} mutants that change something {caught} are caught, {share:.1f} %.

Survivors
---------

{survivors}

Equivalent
----------

{equivalent}
"""


def write_page(
    path: Path,
    root: Path,
    drawn: Sequence[Mutant],
    results: Mapping[str, dict],
    reasons: Mapping[str, str],
    seed: int,
) -> None:
    """Write the page to ``path``."""
    survived = [mutant for mutant in drawn if results[mutant.key]["status"] == "survived"]
    same = [mutant for mutant in survived if mutant.key in reasons]
    left = [mutant for mutant in survived if mutant.key not in reasons]
    counts = [Counter(mutant.kind for mutant in group) for group in (drawn, survived, same, left)]
    rows = [
        (kind, total, total - counts[1][kind], counts[2][kind], counts[3][kind])
        for kind, total in sorted(counts[0].items())
    ]
    rows.append(("all", len(drawn), len(drawn) - len(survived), len(same), len(left)))
    others, caught = len(drawn) - len(same), len(drawn) - len(survived)
    text = PAGE.format(
        number=len(drawn),
        seed=seed,
        table="\n".join("   " + ", ".join(f'"{cell}"' for cell in row) for row in rows),
        others=others,
        caught=caught,
        share=100 * caught / max(others, 1),
        survivors=_listed(root, left, {}) or "None.",
        equivalent=_listed(root, same, reasons) or "None.",
    )
    path.write_text(text, encoding="utf-8")


def _listed(root: Path, group: Sequence[Mutant], reasons: Mapping[str, str]) -> str:
    parts = []
    for mutant in group:
        diff = mutant.diff((root / mutant.file).read_text(encoding="utf-8"))
        reason = f" {reasons[mutant.key]}" if mutant.key in reasons else ""
        code = "\n".join(f"   {line}" for line in diff.splitlines())
        parts.append(f"``{mutant.file}``, {mutant.kind}.{reason}\n\n.. code-block:: diff\n\n{code}")
    return "\n\n".join(parts)
