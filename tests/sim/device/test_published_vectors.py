# SPDX-License-Identifier: Apache-2.0
"""Published vectors through driver, descriptors, DMA and RTL."""

from __future__ import annotations

import pytest

from ktls_cosim.cli import main


def test_a_slice_of_the_published_vectors(
    simulator: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """40 cases of each source and all of RFC 8448; the seed is fixed."""
    assert main(["vectors", "--sample", "40"]) == 0
    words = capsys.readouterr().out.split()
    at = words.index("total")
    assert (words[at + 1], words[at + 3]) == (str(5 * 40 + 27), "0")


@pytest.mark.slow
def test_all_published_vectors(simulator: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["vectors"]) == 0
    words = capsys.readouterr().out.split()
    at = words.index("total")
    assert words[at + 1 : at + 4] == ["10660", "2734", "0"]
