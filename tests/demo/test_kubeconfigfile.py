"""Is the kubeconfig's file safe: for its reader, for its secret, and for the files of others?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodeipam_ctl.demo.kubeconfigfile import KubeconfigFile
from nodeipam_ctl.errors import UsageError


def test_is_there_at_once_for_its_owner_only_and_goes_again(tmp_path: Path) -> None:
    path = tmp_path / "kc"
    file = KubeconfigFile.at(path)
    assert not path.exists()
    KubeconfigFile.handed_over(file.to_hand_over()).write("kind: Config\n")
    assert path.read_text().endswith("\nkind: Config\n")
    assert path.stat().st_mode & 0o777 == 0o600
    file.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", ["", None], ids=["an empty file, as mktemp makes", "ours, left by a killed demo"]
)
def test_replaces(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "kc"
    if content is None:
        KubeconfigFile.at(path).write("old")
    else:
        path.write_text(content)
    file = KubeconfigFile.at(path)
    file.write("new")
    assert path.read_text().endswith("new")
    file.remove()


@pytest.mark.parametrize(
    "begins", ["kind: Config\n", "\nkind: Config\n"], ids=["at its first line", "after an empty line"]
)
def test_never_replaces_the_file_of_somebody_else(tmp_path: Path, begins: str) -> None:
    path = tmp_path / "config"
    path.write_text(f"{begins}# my production clusters\n")
    with pytest.raises(UsageError, match="a file of somebody else is there; name another one"):
        KubeconfigFile.at(path)
    assert "production" in path.read_text()


def test_says_that_the_directory_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--kubeconfig-out .*/nowhere/kc: No such file or directory"):
        KubeconfigFile.at(tmp_path / "nowhere" / "kc")


def test_a_fifo_is_somebody_elses_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "kc"
    os.mkfifo(path)
    with pytest.raises(UsageError, match="a file of somebody else is there"):
        KubeconfigFile.at(path)


def test_the_secret_goes_into_no_file_that_was_laid_out_for_it(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_text("theirs")
    (tmp_path / ".kc.part").symlink_to(theirs)
    file = KubeconfigFile.at(tmp_path / "kc")
    file.write("token: secret")
    file.remove()
    assert theirs.read_text() == "theirs"


def test_says_that_no_file_can_be_made_there() -> None:
    file = KubeconfigFile.at(Path("/proc/kc"))
    with pytest.raises(
        UsageError, match="--kubeconfig-out kc: cannot be written there: No such file or directory"
    ):
        file.write("x")
