"""The front end: a script that Streamlit runs once for every look and every click of a viewer."""

from pathlib import Path

import streamlit as st

from ploutos_jax.ui.pages import compare, data, evaluate, jobs, models, paper, start, sweeps, train, watch

PAGES = (
    ("Start", start.show),
    ("Data", data.show),
    ("Train", train.show),
    ("Watch", watch.show),
    ("Models", models.show),
    ("Evaluate", evaluate.show),
    ("Compare", compare.show),
    ("Sweeps", sweeps.show),
    ("Paper", paper.show),
    ("Jobs", jobs.show),
)

st.set_page_config(page_title="ploutos", layout="wide", initial_sidebar_state="auto")
st.html(Path(__file__).with_name("pages.css"))
pages = [
    st.Page(show, title=title, url_path="" if title == "Start" else title.lower(), default=title == "Start")
    for title, show in PAGES
]
st.navigation(pages).run()
