"""The page of `seqloom watch`: it polls the state of what is watched and draws it."""

from seqloom.tracking.watch.page import Page, render_page
from seqloom.tracking.watch.state import page_state

__all__ = ["Page", "page_state", "render_page"]
