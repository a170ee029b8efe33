"""The page "Mutants of the mathematics" from the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

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
for survivors of this draw, so the share says less about other mutants than {other} does.

{figures}
"""

FRESH = """

A fresh draw
------------

.. code-block:: console

   $ python benchmarks/mutants.py --number {number} --seed {seed} --output runs/fresh.jsonl

For these {number} no test was written before they were drawn: the figures are their first results.{later}

{figures}
"""

FIGURES = """.. csv-table:: {title}
   :header: "kind", "mutants", "caught", "equivalent", "survived"

{table}

Of {others} mutants that change something {caught} are caught, {share:.1f} %.

Survivors{of}
{line}

{survivors}

Equivalent{of}
{longer}

{equivalent}"""


def write_page(
    path: Path, drawn: Sequence[dict], fresh: Sequence[dict], reasons: Mapping[str, str], seed: int, later: int = 0
) -> None:
    """Write the page to ``path``.

    Args:
        path: of the page.
        drawn: results of the mutants of a draw.
        fresh: first results of another draw, or none.
        reasons: why mutants are equivalent, by their keys.
        seed: of the first draw.
        later: number of survivors of the other draw that tests catch by now.
    """
    other = "the fresh draw below" if fresh else "another ``--seed``"
    text = PAGE.format(number=len(drawn), seed=seed, other=other, figures=_figures(drawn, reasons, "-"))
    if fresh:
        figures = _figures(fresh, reasons, "~", " of the fresh draw")
        added = f"\nTests were added afterwards for what survived; they catch {later} of the survivors."
        text += FRESH.format(number=len(fresh), seed=fresh[0]["seed"], figures=figures, later=added if later else "")
    path.write_text(text, encoding="utf-8")


def _figures(drawn: Sequence[dict], reasons: Mapping[str, str], mark: str, of: str = "") -> str:
    survived = [record for record in drawn if record["status"] == "survived"]
    same = [record for record in survived if record["key"] in reasons]
    left = [record for record in survived if record["key"] not in reasons]
    counts = [Counter(record["kind"] for record in group) for group in (drawn, survived, same, left)]
    rows = [
        (kind, total, total - counts[1][kind], counts[2][kind], counts[3][kind])
        for kind, total in sorted(counts[0].items())
    ]
    rows.append(("all", len(drawn), len(drawn) - len(survived), len(same), len(left)))
    others, caught = len(drawn) - len(same), len(drawn) - len(survived)
    return FIGURES.format(
        title=f"Mutants{of} by kind of change",
        table="\n".join("   " + ", ".join(f'"{cell}"' for cell in row) for row in rows),
        others=others,
        caught=caught,
        share=100 * caught / max(others, 1),
        of=of,
        line=mark * len(f"Survivors{of}"),
        longer=mark * len(f"Equivalent{of}"),
        survivors=_listed(left, {}) or "None.",
        equivalent=_listed(same, reasons) or "None.",
    )


def _listed(group: Sequence[dict], reasons: Mapping[str, str]) -> str:
    parts = []
    for record in group:
        reason = f" {reasons[record['key']]}" if record["key"] in reasons else ""
        code = "\n".join(f"   {line}" for line in record["diff"].splitlines())
        parts.append(f"``{record['file']}``, {record['kind']}.{reason}\n\n.. code-block:: diff\n\n{code}")
    return "\n\n".join(parts)
