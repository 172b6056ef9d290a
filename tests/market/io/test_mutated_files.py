"""Vendors' files with lines, marks and cells changed at random: read, or refused in one line that can be typed from."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ploutos_jax.market.io.load import load_panel
from tests.market.io.test_vendor_files import FILES

PIECES = (
    "",
    ",",
    ";",
    "\n",
    '"',
    "\0",
    "\t",
    "|",
    "$",
    "%",
    "1,5",
    "1.5K",
    "nan",
    "1e999",
    "today",
    "12:30",
    "AM",
    "é",
)
SWAPS = (
    (",", ";"),
    (".", ","),
    (":", "-"),
    ("-", "/"),
    ("2024", "24"),
    ("open", "close"),
    ("Date", "Datum"),
    ("0", ""),
)
MAPPINGS = (None, None, None, "close=2", "date=1,close=3", "decimal=comma", "date_format=%d/%m/%Y", "time=2")


@st.composite
def mutated(draw) -> tuple[str, str]:
    """Return the name and the text of a file."""
    file = FILES[draw(st.sampled_from(sorted(FILES)))]
    text = file.text
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(("piece", "lines", "swap")))
        if kind == "swap":
            text = text.replace(*draw(st.sampled_from(SWAPS)))
        elif kind == "lines":
            lines = text.split("\n")
            one, other = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
            lines[one], lines[other] = lines[other], lines[one]
            text = "\n".join(lines)
        else:
            place = draw(st.integers(0, len(text)))
            text = text[:place] + draw(st.sampled_from(PIECES)) + text[place + draw(st.integers(0, 6)) :]
    return file.name, text


@settings(max_examples=200, deadline=10_000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=mutated(), columns=st.sampled_from(MAPPINGS))
def test_a_mutated_file_is_read_or_refused_in_one_line(tmp_path, file, columns):
    name, text = file
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    try:
        panel = load_panel(path, columns=columns)
    except ValueError as error:
        said = str(error)
        assert "\n" not in said and name in said and len(said) < 2000
        return
    panel.validate()


@pytest.mark.parametrize(
    "text", ["\n\n2024-01-02,1\n", '"\n', ",\n,\n", ";\n", "\ufeff\n\n", "date\n\n", "date,close\n\n\n"]
)
def test_files_of_almost_nothing_are_refused(tmp_path, text):
    (tmp_path / "X.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"X\.csv"):
        load_panel(tmp_path / "X.csv")
