# SPDX-License-Identifier: Apache-2.0
"""Sphinx configuration of the documentation site: `make docs` builds it into build/site."""

from __future__ import annotations

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
# docstrings write `name` for code
default_role = "literal"
