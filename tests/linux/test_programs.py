"""Is every way in which a program can fail told in one line?"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nodeipam_ctl.errors import Permanent
from nodeipam_ctl.linux import programs

MISSING = "sh is not installed: install one"


def shell(script: str, *, text: str = "", timeout_s: float = 10.0) -> programs.Ended:
    return programs.run(["sh", "-c", script], missing=MISSING, text=text, timeout_s=timeout_s)


def test_a_program_that_is_not_there_has_a_name_and_a_remedy() -> None:
    with pytest.raises(Permanent) as failed:
        programs.run(["nictl-no-such-program"], missing=MISSING)
    assert str(failed.value) == MISSING


def test_a_program_that_may_not_be_run_is_named_with_the_reason(tmp_path: Path) -> None:
    program = tmp_path / "wg"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o600)
    with pytest.raises(Permanent) as failed:
        programs.run([str(program)], missing=MISSING)
    assert str(failed.value) == f"{program} cannot be run: Permission denied"


def test_a_program_that_does_not_end_is_killed_and_its_arguments_are_not_told(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(Permanent) as failed:
        shell(f"echo $$ > {pid}; exec sleep 600 # a secret", timeout_s=2.0)
    assert str(failed.value) == "sh did not end within 2 s and was killed"
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        pytest.param(
            "echo; echo '  no such table '; echo more >&2; exit 3", "more", id="the error, not the output"
        ),
        pytest.param(
            "(echo; echo '  first '; echo second) >&2; exit 1", "first", id="the first line that has words"
        ),
        pytest.param("exit 3", "failed without a word (exit code 3)", id="nothing"),
        pytest.param("kill -9 $$", "was ended by signal 9 (Killed)", id="a signal"),
        pytest.param(r"printf 'a\377b' >&2; exit 1", "a\ufffdb", id="what is not text"),
    ],
)
def test_a_failure_is_told_in_one_line(script: str, said: str) -> None:
    ended = shell(script)
    assert ended.code != 0
    assert ended.complaint == said


def test_output_that_is_not_text_is_no_failure() -> None:
    assert shell(r"printf 'a\377b'") == programs.Ended(code=0, stdout="a\ufffdb", stderr="")


def test_a_program_reads_the_text_it_is_given_and_else_nothing() -> None:
    assert shell("cat", text="flush table inet für\n").stdout == "flush table inet für\n"
    assert shell("cat").stdout == ""


def test_what_goes_from_file_to_file_never_comes_here(tmp_path: Path) -> None:
    key, copy = tmp_path / "key", tmp_path / "copy"
    key.write_bytes(b"secret")
    with key.open("rb") as source, copy.open("wb") as target:
        ended = programs.run(["cat"], missing=MISSING, stdin=source, stdout=target)
    assert ended == programs.Ended(code=0, stdout="", stderr="")
    assert copy.read_bytes() == b"secret"


def test_what_outlives_us_holds_no_directory_of_ours_and_hears_no_ctrl_c() -> None:
    directory, session = shell("pwd; cut -d ' ' -f 6 /proc/self/stat").stdout.split()
    assert directory == "/"
    assert int(session) != os.getsid(0)
