"""The front end: a script that Streamlit runs once for every look and every click of a viewer."""

import streamlit as st

from ploutos_jax.ui.pages import compare, data, evaluate, jobs, models, start, train, watch

PAGES = (
    ("Start", ":material/home:", start.show),
    ("Data", ":material/table:", data.show),
    ("Train", ":material/play_arrow:", train.show),
    ("Watch", ":material/monitoring:", watch.show),
    ("Models", ":material/inventory_2:", models.show),
    ("Evaluate", ":material/description:", evaluate.show),
    ("Compare", ":material/compare_arrows:", compare.show),
    ("Jobs", ":material/list:", jobs.show),
)

st.set_page_config(page_title="ploutos", layout="wide", initial_sidebar_state="auto")
pages = [
    st.Page(show, title=title, icon=icon, url_path="" if title == "Start" else title.lower(), default=title == "Start")
    for title, icon, show in PAGES
]
st.navigation(pages).run()
