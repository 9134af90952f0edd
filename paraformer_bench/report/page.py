"""Templates to one self-contained page, and the page to disk."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from paraformer_bench import __version__
from paraformer_bench.report import style, units
from paraformer_bench.study.errors import UsageError


def render(template: str, **context: object) -> str:
    """Return the page that a template of ``report/templates`` makes of ``context``.

    Every value is escaped unless it is `Markup`. The page carries a policy under which browsers
    fetch nothing and run no script but the page's own.
    """
    page: str = _environment().get_template(template).render(context)
    return page


def write(path: Path, text: str) -> Path:
    """Write ``text`` to ``path`` so that readers see the old or the new file, never a part.

    Raises:
        UsageError: The folder cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(units.printable(text).encode("utf-8"))
        draft.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):  # where nothing can be written nothing can be removed
            draft.unlink(missing_ok=True)
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
    return path


def data_uri(text: str, kind: str) -> str:
    """Return ``text`` as a link that carries its own target."""
    data = quote(units.printable(text), safe="/,.:;()*+-_")
    return f"data:{kind};charset=utf-8,{data}"


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
        theme=style.THEME,
        script=Markup(script),
        script_digest=digest,
        version=__version__,
        percent=units.percent,
    )
    environment.filters["count"] = units.count
    return environment
