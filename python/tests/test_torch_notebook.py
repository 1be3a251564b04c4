"""The notebook of python/examples, from the first cell to the last; its cells assert what they say themselves.

After a change of it, what it shows is made by `jupyter execute --inplace python/examples/fashion_mnist.ipynb`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("torch")
import nbformat  # noqa: E402
from nbclient import NotebookClient  # noqa: E402

NOTEBOOK = Path(__file__).resolve().parents[1] / "examples" / "fashion_mnist.ipynb"


def printed(notebook: nbformat.NotebookNode) -> str:
    """All text that its cells have printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def pictures(notebook: nbformat.NotebookNode) -> int:
    """How many figures its cells have drawn."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def is_the_published_run(notebook: nbformat.NotebookNode) -> None:
    text = printed(notebook)
    accuracies = [float(found) for found in re.findall(r"accuracy ([\d.]+)%", text)]
    assert len(accuracies) == 6, text
    assert 84 <= accuracies[-1] <= 87, text
    [apart] = re.findall(r"losses of the first 20 steps: at most (\S+) apart", text)
    assert float(apart) <= 1e-5, text
    assert len(re.findall(r"[\d,]+ images/s", text)) == 5, text
    assert re.findall(r"batches of +(\d+): PyTorch [\d.]+ s, Bobbin [\d.]+ s, [\d.]+ times", text) == ["32", "64", "256"]
    assert pictures(notebook) == 4


def test_every_cell_runs_and_the_accuracy_is_that_of_the_paper() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    # An assertion of a cell that fails is a CellExecutionError.
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    is_the_published_run(notebook)


def test_the_outputs_that_are_stored_are_of_such_a_run() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    is_the_published_run(notebook)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert NOTEBOOK.stat().st_size < 300_000
