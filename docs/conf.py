"""Sphinx: the pages of this folder, and the API reference from the docstrings.

`make docs` builds the site in docs/_build/html, with warnings as errors.
"""

import os
import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

from early_exit import __version__  # noqa: E402

project = "Dynamic Network Inference"
author = "the Dynamic Network Inference authors"
copyright = author
version = release = __version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

# The notebook is shown with its outputs, made here from nothing: it is kept without them.
shutil.copy(ROOT / "examples" / "quickstart.ipynb", Path(__file__).with_name("quickstart.ipynb"))
os.environ["PYTHONPATH"] = str(ROOT / "scripts")
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 120

# Markdown: headings can be linked to as on GitHub.
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]

# Docstrings are numpy's; types are in the signatures.
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
autodoc_typehints = "signature"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
maximum_signature_line_length = 88
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
# The names that a user types, not those of the modules that define them.
add_module_names = False
python_use_unqualified_type_names = True

# Classes have attributes of the same name, such as `exits`; a mention of one links to none of them.
suppress_warnings = ["ref.python"]

html_theme = "furo"
html_title = f"Dynamic Network Inference {release}"
html_show_sourcelink = False
copybutton_exclude = ".linenos, .gp, .go"


def setup(app):
    """Show CSV as text, for which Pygments has no lexer, and aliases by their name."""
    from pygments.lexers.special import TextLexer

    app.add_lexer("csv", TextLexer)
    app.connect("autodoc-process-signature", name_aliases)


def name_aliases(app, what, name, obj, options, signature, returned):
    """``TypeAliasForwardRef('ArrayLike')``, as autodoc writes unions with an alias, by its name."""
    alias = r"TypeAliasForwardRef\('(\w+)'\)"
    return tuple(text and re.sub(alias, r"\1", text) for text in (signature, returned))
