"""Tables as Markdown."""

from benchmarks.tables import signed, table, with_interval


def test_tables_show_intervals() -> None:
    shown = table(["a", "b"], [[with_interval([0.5, 0.25, 0.75]), signed([-0.1, -0.2, 0.0])]])

    assert shown.splitlines() == [
        "| a | b |",
        "|---|---|",
        "| 0.500 [0.250, 0.750] | -0.100 [-0.200, +0.000] |",
    ]


def test_figures_are_rounded_as_far_as_asked_for() -> None:
    assert with_interval([16.6, 12.1, 21.7], 0) == "17 [12, 22]"
    assert signed([10.2, 4.9, -1.1], 0) == "+10 [+5, -1]"
