"""Watch: live curves of runs over one another, progress, memory and speed.

The curves are a page of the server that follows server-sent events: a rerun of this script for each viewer and second
would cost the training more than the viewers do that way (docs/control_room.md has the figures).
"""

import streamlit as st

from ploutos_jax.ui.pages.shown import show_live


def show() -> None:
    """Show the page."""
    st.title("Watch")
    show_live(st.query_params.get_all("run"))
