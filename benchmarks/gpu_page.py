"""The page of the documentation that benchmarks/gpu.py writes."""

from __future__ import annotations

from typing import Any

PAGE = """\
Training steps on an accelerator
================================

Written by ``benchmarks/gpu.py`` on {where}. Tests of the device: {suite}.

A step is that of :func:`~bayeshnet.inference.fit` in single precision, Adam included, in milliseconds: the mean of 15
steps (6 where there are 100 draws) after the first ones. *Generated* posteriors are hypernetworks with a latent, whose
KL is LIVI's; those of the mean field have the closed form. *Eager* steps are evaluated operation by operation.
*Captured* (``capture=True``) launches all kernels of a bound and its gradient at once; *compiled* (``compile=True``)
fuses some of them, and both go together. *bf16* runs the main network in bfloat16. *Loop* is Bayes by backprop with a
loop over draws on hypnettorch's network, beside the mean field, in the mean of 5 steps (2); *loop / quickest* is its
time by that of the quickest step of ours in single precision. *Products* is the time of square matrix products, of
4096 rows, with as many operations as the network's three products, in full single precision and in bfloat16;
convolutions in single precision are cuDNN's, for which torch allows TF32. *MiB* is by how much memory grows in the
eager steps, buffers of torch's libraries included at their first use. Dashes stand where nothing was measured.

{table}
"""


def page(found: dict[str, Any], modes: tuple[str, ...]) -> str:
    """Return the page of the documentation."""
    where = f"{found['device']}, torch {found['torch']}, in {found['seconds']:.0f} s"
    columns = [*modes, "loop", "products", "products bf16"]
    heads = ["network", "posterior", "draws", "batch", *columns, "MiB", "loop / quickest"]
    table = [".. list-table::", "   :header-rows: 1", ""]
    for cells in [heads, *(_cells(row, columns, modes) for row in found["rows"])]:
        table += [f"   {'* -' if not place else '  -'} {cell}" for place, cell in enumerate(cells)]
    return PAGE.format(where=where, suite=found["suite"], table="\n".join(table))


def _cells(row: dict[str, Any], columns: list[str], modes: tuple[str, ...]) -> list[str]:
    known = {name: row[name]["seconds"] for name in columns if "seconds" in row.get(name, {})}
    times = [_milliseconds(known[name]) if name in known else "--" for name in columns]
    memory, ours = (
        row.get("eager", {}).get("memory"),
        [known[mode] for mode in modes if mode in known and "bf16" not in mode],
    )
    ratio = f"{known['loop'] / min(ours):.3g}" if ours and "loop" in known else "--"
    head = [row["network"], row["posterior"], str(row["samples"]), str(row["batch"])]
    return [*head, *times, "--" if memory is None else f"{memory / 2**20:.0f}", ratio]


def _milliseconds(seconds: float) -> str:
    return f"{1e3 * seconds:.3g}" if seconds >= 1e-5 else "< 0.01"
