"""The filter, by a small interpreter of its instructions: what it allows and what it refuses, on both processors."""

from __future__ import annotations

import struct
from errno import ENOSYS, ENOTTY, EPERM

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistral7b.evals.sandbox import seccomp
from mistral7b.evals.sandbox.seccomp import Step

ALLOWED = 0x7FFF0000
OWN = 4242


def judged(program: list[Step], number: int, *arguments: int, architecture: int = 0xC000003E) -> int:
    """What the filter gives for one call."""
    data = struct.pack("=iIQ6Q", number, architecture, 0, *(list(arguments) + [0] * 6)[:6])
    at, held = 0, 0
    while True:
        code, yes, no, operand = program[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            held = struct.unpack_from("=I", data, operand)[0]
        elif code == 0x54:
            held &= operand
        else:
            at += yes if (held == operand if code == 0x15 else held > operand) else no


@pytest.fixture(params=["x86_64", "aarch64"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Step], int, int]:
    monkeypatch.setattr(seccomp, "machine", lambda: request.param)
    return seccomp.steps(OWN), *((0, 0xC000003E) if request.param == "x86_64" else (1, 0xC00000B7))


def test_what_is_listed_is_refused(processor: tuple[list[Step], int, int]) -> None:
    program, column, architecture = processor
    for name, numbers in seccomp._REFUSED.items():
        if (number := numbers[column]) is not None:
            assert judged(program, number, architecture=architecture) == 0x50000 | EPERM, name


def test_what_depends_on_arguments(processor: tuple[list[Step], int, int]) -> None:
    program, column, architecture = processor

    def gives(numbers: tuple[int, int], *arguments: int) -> int:
        found = judged(program, numbers[column], *arguments, architecture=architecture)
        return 0 if found == ALLOWED else found & 0xFFFF

    assert gives((56, 220), 0x3D0F00) == 0  # a thread of the C library
    assert gives((56, 220), 0x1200011) == EPERM  # its fork
    assert gives((435, 435)) == ENOSYS
    for kill in ((62, 129), (234, 131)):
        assert gives(kill, OWN, 9) == 0
        assert gives(kill, OWN + 1, 9) == EPERM
        assert gives(kill, 0, 9) == EPERM
        assert gives(kill, -1 & (2**64 - 1), 9) == EPERM
    assert gives((302, 261), 0, 7) == gives((302, 261), OWN, 7) == 0
    assert gives((302, 261), 1, 7) == EPERM
    assert gives((44, 206), 3, 1, 1, 0, 0, 0) == 0
    assert gives((44, 206), 3, 1, 1, 0, 0x7FFF0000, 16) == gives((44, 206), 3, 1, 1, 0, 1 << 40, 16) == EPERM
    assert gives((16, 29), 1, 0x5401) == 0
    assert gives((16, 29), 1, 0x5412) == ENOTTY  # typing into a terminal
    assert gives((157, 167), 38, 1) == 0
    assert gives((157, 167), 1, 0) == EPERM  # to live on when the parent dies
    assert gives((157, 167), 4, 0) == EPERM  # to hide from its watch
    assert gives((72, 25), 1, 3) == 0
    assert gives((72, 25), 1, 8) == EPERM  # whom a pipe signals


def test_another_processor_s_calls_end_the_process(processor: tuple[list[Step], int, int]) -> None:
    assert judged(processor[0], 0, architecture=0x40000003) == 0x80000000


@given(st.integers(463, 2**31 - 1))
def test_calls_newer_than_the_list_do_not_exist(number: int) -> None:
    assert judged(seccomp.steps(OWN), number, architecture=seccomp._ARCHITECTURES[seccomp.machine() or ""]) == 0x50000 | ENOSYS


def test_the_calls_of_daily_life_are_allowed(processor: tuple[list[Step], int, int]) -> None:
    daily = {"read": (0, 63), "write": (1, 64), "openat": (257, 56), "close": (3, 57),
             "mmap": (9, 222), "futex": (202, 98), "exit_group": (231, 94),
             "mkdirat": (258, 34), "unlinkat": (263, 35),
             "getrandom": (318, 278), "socketpair": (53, 199), "prctl": (157, 167)}  # fmt: skip
    program, column, architecture = processor
    for name, numbers in daily.items():
        assert judged(program, numbers[column], architecture=architecture) == ALLOWED, name
