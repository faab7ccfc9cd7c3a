"""Plug-ins are copied once, and again only when they differ."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodeipam_ctl.cli.main import run


def test_copies_what_differs_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "source", tmp_path / "host" / "bin"
    source.mkdir()
    for name in ("ptp", "host-local"):
        (source / name).write_bytes(b"\x7fELF" + name.encode())
    arguments = [
        "install-cni",
        *("--cni-plugin-source", str(source), "--cni-bin-dir", str(target)),
        *("--cni-plugins", "ptp,host-local"),
    ]
    assert run(arguments) == 0
    assert "ptp, host-local written" in capsys.readouterr().out
    assert (target / "ptp").stat().st_mode & 0o777 == 0o755
    (target / "ptp").write_bytes(b"old")
    assert run(arguments) == 0
    assert f"{target}: ptp written" in capsys.readouterr().out
    assert run(arguments) == 0
    assert "up to date" in capsys.readouterr().out
    assert sorted(file.name for file in target.iterdir()) == ["host-local", "ptp"]


def test_a_missing_plug_in_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["install-cni", "--cni-plugin-source", str(tmp_path), "--cni-bin-dir", str(tmp_path / "b")]) == 2
    )
    assert capsys.readouterr().err.count("\n") == 1
