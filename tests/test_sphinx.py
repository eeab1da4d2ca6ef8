"""The way out of Jupyter Book 1: plain Sphinx, newer than it allows, makes the same pages."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
NEWER = ("sphinx==9.0.4", "myst-nb==1.4.0", "sphinx-book-theme==1.4.0")
OF_JUPYTER_BOOK = "'jupyter_book', ", "'sphinx_comments', "  # extensions


def commanded(*command: object, **environment: str) -> str:
    """What a command says; fails if it does."""
    done = subprocess.run(
        list(map(str, command)),
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def shown(page: Path) -> tuple[int, int, str]:
    """How many figures and formulas there are in the text of a page, and what it says."""
    whole = page.read_text(encoding="utf-8")
    [text] = re.findall(r'<article class="bd-article".*?</article>', whole, re.S)
    text = re.sub(r"<(script|style)\b.*?</\1>", "", text, flags=re.S)
    said = "".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())
    return text.count("<figure"), text.count("<math"), said


def test_plain_sphinx_makes_the_same_pages(built_book, tmp_path):
    source, made = built_book.parent / "source", tmp_path / "pages"
    commanded(Path(sys.executable).with_name("jupyter-book"), "config", "sphinx", source)
    settings = (source / "conf.py").read_text(encoding="utf-8")
    for extension in OF_JUPYTER_BOOK:
        assert extension in settings
        settings = settings.replace(extension, "")
    (source / "conf.py").write_text(settings, encoding="utf-8")
    newer, pip = tmp_path / "newer", (sys.executable, "-m", "pip", "--disable-pip-version-check")
    commanded(*pip, "--quiet", "install", "--target", newer, *NEWER)
    sphinx = (sys.executable, "-m", "sphinx", "-q", "-b", "html", "-n")
    said = commanded(*sphinx, source, made, PYTHONPATH=f"{newer}{os.pathsep}{ROOT}")
    assert "WARNING" not in said
    compared = sorted({*built_book.glob("book/*.html"), *built_book.glob("notebooks/*.html")})
    assert len(compared) > 20
    for page in compared:
        assert shown(made / page.relative_to(built_book)) == shown(page), page.name
