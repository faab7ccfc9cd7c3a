from __future__ import annotations

import time

import pytest

from nodeipam_ctl.kube.wire.yaml_text import NotYAML, documents

PADDING = "#" * 100 + "\n"
"""A short text is never looked at: it cannot stand for much."""


def laughs(levels: int, *, times: int = 9) -> str:
    text = "a0: &a0 [lol, lol]\n"
    for i in range(1, levels + 1):
        text += f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * times)}]\n"
    return text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param(laughs(9), "its aliases stand for more than 1 MiB", id="a billion laughs"),
        pytest.param(
            f"a: &a {'x' * 100_000}\nb: [{'*a, ' * 20}]\n", "more than 1 MiB", id="a long text, often"
        ),
        pytest.param(
            "a: &a {b: 1}\n" + "".join(f"k{i}: {{<<: *a, c: {'y' * 900}}}\n" for i in range(3)) + laughs(8),
            "more than 1 MiB",
            id="merge keys among it",
        ),
        pytest.param(f"a: &a [1, *a]\n{PADDING}", r"the alias \*a stands for what it lies in", id="a loop"),
        pytest.param(f"a: *nobody\n{PADDING}", "not YAML at line 1", id="an alias of nothing"),
    ],
)
def test_aliases_that_stand_for_too_much_are_refused_at_once(text: str, says: str) -> None:
    began_s = time.process_time()
    with pytest.raises(NotYAML, match=says):
        documents(text.encode())
    assert time.process_time() - began_s < 2.0


def test_aliases_as_people_use_them_are_read() -> None:
    text = f"""
common: &common {{cidrs: [10.0.0.0/16], nodeMaskSize: 24}}
pools:
- {{ipv4: *common}}
- {{ipv4: {{<<: *common, nodeMaskSize: 26}}}}
twice: [&x 1, *x, &y 2, *y]
{PADDING}"""
    (document,) = documents(text.encode())
    assert document["pools"][0]["ipv4"] == {"cidrs": ["10.0.0.0/16"], "nodeMaskSize": 24}
    assert document["pools"][1]["ipv4"]["nodeMaskSize"] == 26
    assert document["twice"] == [1, 1, 2, 2]


def test_a_text_too_short_to_be_looked_at_stands_for_little() -> None:
    (document,) = documents(laughs(3, times=4).encode()[:100].rpartition(b"\n")[0])
    assert len(str(document)) < 10_000
