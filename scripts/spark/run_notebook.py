"""Runs a notebook from the first cell to the last, in its own directory; fails where a cell fails."""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def main() -> None:
    path = Path(sys.argv[1])
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, timeout=200, kernel_name="python3", resources=place).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    for output in code[-1].outputs:
        print(f"   {output.get('text', '').strip()}")


if __name__ == "__main__":
    main()
