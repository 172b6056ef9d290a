"""Where a report goes that no folder was named for."""

import pytest

from ploutos_jax.cli.evaluate import Evaluation, _next_folder, main


def test_a_report_goes_to_the_next_free_folder_of_its_run(tmp_path):
    wanted = Evaluation(checkpoint=(str(tmp_path),))
    assert _next_folder(wanted) == str(tmp_path / "evaluation-1")
    (tmp_path / "evaluation-1").mkdir()
    assert _next_folder(wanted) == str(tmp_path / "evaluation-2")


def test_what_has_no_run_folder_is_asked_for_one(tmp_path):
    with pytest.raises(
        ValueError, match=r"There is no run folder .*gone; runs lie in checkpoints/ unless --output said so"
    ):
        _next_folder(Evaluation(checkpoint=(str(tmp_path / "gone"),)))
    with pytest.raises(ValueError, match="Name the folder of the comparison with --output"):
        _next_folder(Evaluation(compare=("a", "b")))


@pytest.mark.parametrize(
    "asked", [["--stress", "4"], ["--severity", "0"], ["--slopes"], ["--scenarios", "gap_down"], ["--tickers", "A"]]
)
def test_a_comparison_does_not_pass_over_what_only_a_report_shows(tmp_path, asked):
    with pytest.raises(
        ValueError, match=f"--compare writes one page without {asked[0]}; name the runs as --checkpoint"
    ):
        main(["--compare", "a", "b", "--output", str(tmp_path / "out"), *asked])
    assert not (tmp_path / "out").exists()
