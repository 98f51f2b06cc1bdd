"""Every measured number once: tables and single numbers of Markdown pages, from results/numbers/*.json; and pictures
of docs/examples.md, from the notebooks.

  python tools/tables.py           writes them into the pages: `make tables`
  python tools/tables.py --check   exits 1 where a page differs, or running text has a measured number of no file: a
                                   part of `make check`

A file NAME.json holds {"how": {"command", "machine", "date", "commit"}, "columns": [...], "rows": [[...], ...]}; the
first cell of a row is its name. A page shows it by

  <!-- table: NAME -->  or  <!-- table: NAME rows=hybrid,noise columns=scheme,JS -->      up to  <!-- /table -->

and one cell, in running text, by <!-- number: NAME ROW COLUMN -->...<!-- /number -->; underscores stand for spaces in
names of rows and columns. docs/images/example_NAME.png is the picture below the cell of examples/NAME.ipynb that has
the tag "docs".
"""

import base64
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
NUMBERS = ROOT / "results" / "numbers"
TABLE = re.compile(r"(?P<open><!-- table: (?P<spec>[^\n]+?) -->\n).*?(?P<close><!-- /table -->)", re.DOTALL)
NUMBER = re.compile(r"(?P<open><!-- number: (?P<spec>[^\n]+?) -->).*?(?P<close><!-- /number -->)", re.DOTALL)
MOST = 120  # characters of a line
FREE = re.compile(r"\||<!-- table")
HOW = {"command", "machine", "date", "commit"}
MEASURED = re.compile(r"\d(?:[\d.,]*\d)? ?(?:%|(?:s|ms|µs|seconds|minutes|hours|nats)\b)|± ?\d[\d.]*|\b0\.\d{3,}")
APART = re.compile(  # code, what has markers, links, lines that cite
    r"^```.*?^```$|<!-- (table|number): .*?<!-- /\1 -->|`[^`\n]*`|\]\([^)\n]*\)|^    [^\n]*|^[^\n]* et al\. [^\n]*",
    re.DOTALL | re.MULTILINE,
)
LOGS = ("docs/log/", "docs/paper_", "CHANGELOG.md", "CONTRIBUTING.md")  # dated, or of the paper
SETTINGS = {  # what looks measured and is a setting, a formula, or a bound that a test or limit holds
    *("1 %", "5 %", "68 %", "95 %", "20 seconds", "20 minutes", "20 hours", "±0.5"),
    *("0.0005", "0.625", "0.007", "0.015", "0.275", "0.574", "0.998"),
    *("4 %", "0.018 nats"),  # README's, which tests/house/test_tables.py holds
}


class Fault(Exception):
    """What is wrong with a page's request or a file, in one line."""


def read(name):
    """The parsed file of a name."""
    path = NUMBERS / f"{name}.json"
    if not path.exists():
        raise Fault(f"expected {path.relative_to(ROOT)}")
    found = json.loads(path.read_text(encoding="utf-8"))
    if missing := HOW - set(found.get("how", {})):
        raise Fault(f"{name}.json: expected, in how, {', '.join(sorted(missing))}")
    if wrong := [row[0] for row in found["rows"] if len(row) != len(found["columns"])]:
        raise Fault(f"{name}.json: expected {len(found['columns'])} cells in row {wrong[0]}")
    return found


def table_of(spec):
    """Markdown lines of a table, by what stands in its comment."""
    name, *options = spec.split()
    found, chosen = read(name), dict(option.split("=", 1) for option in options)
    columns, rows = found["columns"], found["rows"]
    places = [_place(columns, one, name) for one in _names(chosen.get("columns"))] or range(len(columns))
    if "rows" in chosen:
        rows = [rows[_place([row[0] for row in rows], one, name)] for one in _names(chosen["rows"])]
    lines = [[columns[i] for i in places], ["---"] * len(places), *([row[i] for i in places] for row in rows)]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def number_of(spec):
    """The text of one cell."""
    name, row, column = spec.split()
    found = read(name)
    line = found["rows"][_place([line[0] for line in found["rows"]], row, name)]
    return str(line[_place(found["columns"], column, name)])


def _names(text):
    return text.split(",") if text else []


def _place(names, wanted, where):
    plain = [str(name).replace(" ", "_").replace(",", "") for name in names]
    if wanted not in plain:
        raise Fault(f"{where}.json: expected one of {', '.join(plain)}. Received: {wanted}")
    return plain.index(wanted)


def filled(text):
    """A page with every table and number as its file has it."""
    text = TABLE.sub(lambda found: found["open"] + table_of(found["spec"]) + found["close"], text)
    return NUMBER.sub(lambda found: found["open"] + number_of(found["spec"]) + found["close"], text)


def pages():
    """The Markdown files under version control, as far as there is a repository, else all."""
    try:
        names = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.md")]
    return [ROOT / name for name in names if (ROOT / name).exists()]


def pictures():
    """{path of a picture: its bytes}, from the notebooks."""
    found = {}
    for path in sorted((ROOT / "examples").glob("*.ipynb")):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            if "docs" in cell["metadata"].get("tags", []):
                (shown,) = (one["data"] for one in cell["outputs"] if "image/png" in one.get("data", {}))
                found[ROOT / "docs" / "images" / f"example_{path.stem}.png"] = base64.b64decode(shown["image/png"])
    return found


def main(arguments):
    is_check = "--check" in arguments
    faults = _picture_faults(is_check)
    for path in pages():
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT)
        try:
            new = filled(text)
        except Fault as fault:
            faults.append(f"{name}: {fault}")
            continue
        if new != text and is_check:
            faults.append(f"{name}: a table or number differs from results/numbers; run `make tables`")
        elif new != text:
            path.write_text(new, encoding="utf-8")
            print(f"wrote {name}")
        faults += [f"{name}:{line}: {words}" for line, words in unfit(new)]
        if not name.as_posix().startswith(LOGS):
            faults += [f"{name}:{line}: {words}" for line, words in unmarked(new)]
    for fault in faults:
        print(fault)
    print(f"tables: {len(faults)} faults" if faults else "tables: as results/numbers has them")
    return 1 if faults else 0


def _picture_faults(is_check):
    """Writes the pictures that differ, or says which do."""
    faults = []
    for path, content in pictures().items():
        name = path.relative_to(ROOT)
        if path.exists() and path.read_bytes() == content:
            continue
        if is_check:
            faults.append(f"{name}: differs from its notebook; run `make tables`")
        else:
            path.write_bytes(content)
            print(f"wrote {name}")
    return faults


def unfit(text):
    """(line, what is wrong) of lines above 120 characters, tables apart, and of paragraphs cut."""
    is_code, before = False, ""
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            is_code = not is_code
        if len(line) > MOST and not FREE.match(line):
            yield number, f"{len(line)} characters; expected at most {MOST}"
        if line.startswith("<!-- number"):
            yield number, "expected a word before it: a comment that begins a line ends its paragraph"
        if not before and not is_code and re.match(r" {1,3}\S", line):
            yield number, "expected an indent of 4 after an empty line: with less the site ends the list here"
        before = line


def unmarked(text):
    """(line, what is wrong) of numbers in running text that look measured and come from no file of results/numbers.

    Limits: a number without unit and with less than three decimals is not seen; lines that cite papers are left out.
    """
    text = APART.sub(lambda found: "\n" * found[0].count("\n"), text)
    for number, line in enumerate(text.splitlines(), start=1):
        for found in MEASURED.findall(line):
            if found not in SETTINGS:
                yield number, f"{found} looks measured: expected a marker, or a line of SETTINGS in tools/tables.py"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
