# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration of the documentation site: `make docs` builds it into build/site."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

project = "ktls-cosim"
copyright = "the ktls-cosim authors"  # noqa: A001  (Sphinx's name)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["README.md"]

html_theme = "furo"
html_title = "ktls-cosim"
html_copy_source = False

# GitHub's anchors, so that a link works on the site and in a repository browser
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
# docstrings write `name` for code
default_role = "literal"


def tidy_signature(*event: Any) -> tuple[str, str] | None:
    """A protocol has no constructor; Sphinx cannot parse a default such as `<factory>`."""
    _app, _what, _name, obj, _options, signature, returns = event
    if getattr(obj, "_is_protocol", False):
        return "", returns
    return (re.sub(r"<[^<>]+>", "...", signature), returns) if signature else None


def setup(app: Sphinx) -> None:
    app.connect("autodoc-process-signature", tidy_signature)
