"""Models: runs with their checkpoints, exported agents; remove what is not needed."""

import streamlit as st

from ploutos_jax.ui.pages.client import RefusedError, api
from ploutos_jax.ui.pages.shown import choose, show_table, size


def show() -> None:
    """Show the page."""
    st.title("Models")
    if done := st.session_state.pop("removed", None):
        st.success(f"{done} is removed.")
    models = api().get("/api/models")
    if not models:
        st.info("No model yet: a run makes one.")
        return
    rows = [
        {
            "Folder": model["path"],
            "Kind": model["kind"],
            "Checkpoints": ", ".join(map(str, model.get("checkpoints", []))),
            "Best": ", ".join(map(str, model.get("best", []))),
            "Size": size(model["bytes"]),
        }
        for model in models
    ]
    show_table(rows)
    path = choose("Folder", [model["path"] for model in models])
    model = next(each for each in models if each["path"] == path)
    if model["kind"] == "run":
        with st.expander("Settings"):
            st.code(api().get("/api/runs/config", run=path)["text"], language="yaml", height=400)
    with st.expander("Remove"):
        steps = [f"{path}/{kind}/{step}" for kind in ("checkpoints", "best") for step in model.get(kind, [])]
        what = choose("What", [path, *steps])
        name = what.rpartition("/")[2]
        confirm = st.text_input(f"Type {name} to confirm", key=f"confirm {what}")
        if st.button("Remove for good", disabled=confirm != name):
            try:
                api().delete("/api/models", path=what, confirm=confirm)
            except RefusedError as error:
                st.error(str(error))
            else:
                st.session_state["removed"] = what
                st.rerun()
