"""MkDocs hooks: pages and pictures that lie outside docs/, links between all pages, and tables of a config's settings.

GitHub and the site show the same files. Links are written for GitHub, relative to the file; the site has the pages of
docs/ and of OUTSIDE, and no source files.
"""

import dataclasses
import pathlib
import posixpath
import re
import sys

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUTSIDE = {  # file of the repository -> page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "pretrained/README.md": "pretrained.md",
}
PICTURES = {path.relative_to(ROOT).as_posix(): path for path in (ROOT / "results").rglob("*.png")}
LINK = re.compile(r"(?P<is_image>!?)\[(?P<text>[^\]]*)\]\((?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?\)")
FLAG_VALUE = re.compile(r"--\w+(=\w+)?")
CODE, FLAG = re.compile(r"<code>[^<]*</code>"), re.compile(r"--\w+=?")
CELL = re.compile(r"<td>[^<]*</td>")
SETTINGS = re.compile(r"^<!-- settings: (\w+) -->$", re.MULTILINE)


def on_files(files, config):
    """Adds what lies outside docs/."""
    for target, path in PICTURES.items():
        files.append(File.generated(config, target, abs_src_path=str(path)))
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links into the site's, and settings comments into tables."""
    sources = {target: source for source, target in OUTSIDE.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    if source.startswith("docs/log/"):
        page.meta["search"] = {"boost": 0.1}  # history comes last

    def link(match):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["path"]))
        if not (ROOT / path).exists():
            return match[0]  # MkDocs says that it leads nowhere
        target = path.removeprefix("docs/") if path.startswith("docs/") or path in PICTURES else OUTSIDE.get(path)
        if target is None:  # a source file, which the site has not
            return f"`{path}`"
        target = posixpath.relpath(target, posixpath.dirname(page.file.src_uri) or ".")
        return f"{match['is_image']}[{match['text']}]({target}{match['anchor'] or ''})"

    return SETTINGS.sub(lambda match: _settings_table(match[1]), LINK.sub(link, markdown))


def on_page_content(html, page, config, files):
    """Docstrings' "Limits:" begins a line, as in the source; no line breaks inside the name of a flag, and in a table
    none before %.
    """
    html = html.replace("\nLimits:", "<br>\nLimits:")
    html = CELL.sub(lambda cell: cell[0].replace(" %", "\u00a0%"), html)
    return CODE.sub(lambda code: FLAG.sub(r'<span class="flag">\g<0></span>', code[0]), html)


def _settings_table(name):
    """Tables of a dataclass of ebm_tf.settings, one for each group: name and type, default, help."""
    sys.path.insert(0, str(ROOT))
    try:
        from ebm_tf.settings import commands, fields, train
    finally:
        sys.path.pop(0)
    config_cls, rows, group = (vars(commands) | vars(train))[name], [], None
    for field in dataclasses.fields(config_cls):
        if group != (group := fields.group_of(config_cls, field.name)):
            rows += ["", f"**{group}**", "", "| setting | default | what it is |", "| --- | --- | --- |"]
        kind = getattr(field.type, "__name__", str(field.type)).replace("|", "or")
        what = FLAG_VALUE.sub(r"`\g<0>`", fields.field_help(field).replace("|", "\\|"))
        if field.metadata["choices"]:
            what += " One of " + ", ".join(f"`{choice}`" for choice in field.metadata["choices"]) + "."
        rows.append(f"| `{field.name}`: {kind} | `{field.default}` | {what} |")
    return "\n".join(rows)
