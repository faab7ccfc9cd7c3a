"""Is the kubeconfig's file safe: for its reader, for its secret, and for the files of others?"""

from __future__ import annotations

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


def test_never_replaces_the_file_of_somebody_else(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("kind: Config\n# my production clusters\n")
    with pytest.raises(UsageError, match="a file of somebody else is there; name another one"):
        KubeconfigFile.at(path)
    assert "production" in path.read_text()


def test_says_that_the_directory_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--kubeconfig-out .*/nowhere/kc: No such file or directory"):
        KubeconfigFile.at(tmp_path / "nowhere" / "kc")
