"""MkDocs hook: put the pages that stand outside of docs/ into the site, and adapt the links between the two."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks/index.md",
    "benchmarks/report.md": "benchmarks/report.md",
    "benchmarks/peers.md": "benchmarks/peers.md",
    "benchmarks/rates.md": "benchmarks/rates.md",
    "benchmarks/streams.md": "benchmarks/streams.md",
    "benchmarks/streams.svg": "benchmarks/streams.svg",
    "config.json": "config.json",
}
"""Files of the repository, and their places in the site."""
_SOURCES = {page: source for source, page in OUTSIDE.items()}
_LINK = re.compile(r"(\]\()([^)#:\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the files that stand outside of docs/."""
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    here = page.file.src_uri
    source = _SOURCES.get(here, f"docs/{here}")

    def in_site(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        found = OUTSIDE.get(target) or target.removeprefix("docs/")
        if files.get_file_from_path(found) is None:
            return match[0]
        return f"{match[1]}{posixpath.relpath(found, posixpath.dirname(here) or '.')}{match[3]}"

    return _LINK.sub(in_site, markdown)
