"""How Sphinx builds the documentation: ``make docs``. Nothing is fetched from a network."""

import os
import re

# Before numpy and torch are imported: gallery examples compute with one thread, as the tests do.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

from lightning.pytorch import LightningModule

import titans_ts

project = "titans-ts"
author = "the titans-ts developers"
copyright = author
version = release = titans_ts.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "README.md", "tutorials"]  # packages, which pages quote
templates_path = ["_templates"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say it, with shapes and units
numpydoc_show_class_members = False  # the class template lists them, each with its docstring

html_theme = "pydata_sphinx_theme"
html_title = "titans-ts"
html_static_path = ["_static"]
html_css_files = ["titans.css"]
html_show_sourcelink = False
html_theme_options = {
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    # A page of drawings needs its width.
    "secondary_sidebar_items": {"**": ["page-toc"], "user_guide/memory": []},
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"install": [], "changelog": [], "contributing": []}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": ("matplotlib",),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_signature": False,
    "min_reported_time": 5,
}


def skip_what_others_bring(app, what, name, obj, skip, options):
    """Leave out members of torch's and Lightning's modules, and some that scikit-learn adds.

    Their own documentation has them, and its references lead nowhere from here.
    """
    function = getattr(obj, "fget", None) or obj
    home = (getattr(function, "__module__", None) or "").split(".")[0]
    if home in ("torch", "lightning", "lightning_utilities", "lightning_fabric"):
        return True
    if home == "titans_ts" and function.__doc__ is None and hasattr(LightningModule, name):
        return True  # its text would be theirs
    sklearns = r"set_\w+_request|get_metadata_routing|set_output"
    if re.fullmatch(sklearns, name) or (home == "sklearn" and name == "score"):
        return True
    return None


def escape_fitted_names(app, what, name, obj, options, lines):
    """Keep reStructuredText from taking a fitted attribute, such as coef_, for a link."""
    for i, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            lines[i] = re.sub(r"(?<![`\w])([A-Za-z]\w*)_(?![\w`])", r"\1\_", line)


def setup(app):
    app.connect("autodoc-skip-member", skip_what_others_bring)
    # After numpydoc, which knows sections and comes at 500.
    app.connect("autodoc-process-docstring", escape_fitted_names, priority=600)
