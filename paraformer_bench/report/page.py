"""Pages become self-contained files."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from paraformer_bench.report.figures import style
from paraformer_bench.report.html import legend, prose
from paraformer_bench.report.section import Page
from paraformer_bench.study import __version__, words
from paraformer_bench.study.errors import UsageError
from paraformer_bench.study.run_folder import write_whole


def render(page: Page) -> str:
    """Return a page as HTML.

    Every value is escaped unless it is `Markup`. The page carries a policy under which browsers
    fetch nothing and run no script but the page's own.
    """
    return render_template("page.html.j2", page=page)


def render_template(template: str, **context: object) -> Markup:
    """Return what a template of ``report/templates`` makes of ``context``."""
    return Markup(_environment().get_template(template).render(context))


def write(path: Path, text: str) -> Path:
    """Write ``text`` to ``path`` so that readers see the old or the new file, never a part.

    Raises:
        UsageError: It cannot be written.
    """
    target = path.parent
    try:
        target.mkdir(parents=True, exist_ok=True)
        target = path
        write_whole(path, words.printable(text).encode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None
    return path


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("paraformer_bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    scripts = sorted((Path(__file__).parent / "templates").glob("*.js"))
    script = "\n".join(path.read_text(encoding="utf-8") for path in scripts)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    environment.globals.update(
        theme=style.THEME, script=Markup(script), script_digest=digest, version=__version__
    )
    environment.filters |= {"count": words.count, "prose": prose, "legend": legend}
    return environment
