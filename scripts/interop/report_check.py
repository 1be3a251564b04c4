"""Reads report.html of a run as a browser does, and says what is wrong with it.

    python3 scripts/interop/report_check.py RUN_DIRECTORY

Needs the packages html5lib and pillow. Exits 1 if something is wrong.
"""

import base64
import io
import json
import math
import re
import sys
from pathlib import Path

import html5lib
from PIL import Image

LARGEST = 1_500_000
SECTIONS = ["Training", "Confusion", "Classes", "Surest mistakes", "First filters", "Epochs",
            "Recipe"]

problems = []


def check(truth, message):
    if not truth:
        problems.append(message)


def check_offline(page):
    """Nothing is run, nothing is fetched, and every picture is one."""
    for element in page.iter():
        tag = str(element.tag).rsplit("}", 1)[-1]
        check(tag not in ("script", "link", "iframe", "object", "embed", "base"), f"a <{tag}>")
        for name, value in element.attrib.items():
            check(not str(name).startswith("on"), f"<{tag} {name}>")
            if name in ("src", "href", "data", "srcset"):
                prefix = "data:image/png;base64,"
                check(value.startswith(prefix), f"<{tag} {name}={value[:60]}>")
                picture = Image.open(io.BytesIO(base64.b64decode(value.removeprefix(prefix))))
                picture.verify()


def check_numbers(page):
    """Every number of a drawing is one."""
    for svg in page.iter("{http://www.w3.org/2000/svg}svg"):
        for element in svg.iter():
            for name in ("d", "x", "y", "cx", "cy", "width", "height"):
                for number in re.split(r"[MLHV\s]+", element.attrib.get(name, "")):
                    check(not number or math.isfinite(float(number)), f"{name}={number}")


def text(element):
    return "".join(element.itertext())


def check_content(run, page, html):
    headings = [text(h) for h in page.iter("{http://www.w3.org/1999/xhtml}h2")]
    metrics = run / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    epochs = [line for line in lines if line["event"] == "epoch"]
    validated = any(line["top1"] is not None for line in epochs)
    skipped = set() if validated else {"Classes", "Surest mistakes"}
    for heading in SECTIONS:
        check(heading in skipped or heading in headings, f"no section `{heading}`")
    # Of the data and of weights to begin with the page has only the names.
    recipe = re.sub(r'^((?:directory|weights) = ").*/', r"\1", (run / "recipe.toml").read_text().strip(), flags=re.M)
    pres = [text(pre).strip() for pre in page.iter("{http://www.w3.org/1999/xhtml}pre")]
    check(recipe in pres, "the recipe is another")
    rows = [text(row) for row in page.iter("{http://www.w3.org/1999/xhtml}tr")]
    for line in epochs[-5:]:
        shown = f"{line['epoch']}{line['loss']:.4f}"
        check(any(row.strip().startswith(shown) for row in rows), f"epoch {line['epoch']} is not told")
    charts = html.count('<figure class="chart">')
    check(charts == 4 and html.count("<svg") == 4, f"{charts} charts")


def main(run):
    path = run / "report.html"
    html = path.read_text()
    check(len(html.encode()) <= LARGEST, f"{len(html.encode())} bytes")
    check("default-src 'none'" in html, "no policy against fetching")
    parser = html5lib.HTMLParser()
    page = parser.parse(html)
    check(not parser.errors, f"HTML: {parser.errors[:3]}")
    check_offline(page)
    check_numbers(page)
    check_content(run, page, html)
    for problem in problems[:20]:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{path}: {len(problems)} problems")
    print(f"{path}: {len(html.encode())} bytes: all is well")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
