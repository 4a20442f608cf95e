"""Personal data: addresses and numbers that lead to one person. Checksums and shapes keep dates, prices and versions out."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass

from datatrove.data import Document

from mistral7b.data.curate.recipe import PersonalData
from mistral7b.data.curate.step import Desk, Dropped, Kept, Step, Verdict


@dataclass(frozen=True)
class Pattern:
    """What it looks like, and what must be true of it besides."""

    looks: re.Pattern[str]
    holds: Callable[[str], bool]
    placeholder: str


def luhn(number: str) -> bool:
    """ISO/IEC 7812: from the right, every second digit doubled and its digits added; the sum ends in 0."""
    digits = [int(sign) for sign in number if sign.isdigit()]
    doubled = [digit if i % 2 == 0 else sum(divmod(2 * digit, 10)) for i, digit in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0


def iban(number: str) -> bool:
    """ISO 13616: the first four signs moved to the end, letters as 10 to 35, the number modulo 97 is 1."""
    plain = re.sub(r"[\s\-]", "", number).upper()
    return 15 <= len(plain) <= 34 and int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def public_ip(address: str) -> bool:
    """Whether it is an address of the internet; those of local networks and of documentation name nobody."""
    try:
        return ipaddress.ip_address(address).is_global
    except ValueError:
        return False


def phone(number: str) -> bool:
    """Nine to fifteen digits (E.164), not a date."""
    digits = sum(sign.isdigit() for sign in number)
    return 9 <= digits <= 15 and not re.fullmatch(r"(?:19|20)\d\d[-./ ]\d\d[-./ ]\d\d.*", number)


# In the order they are replaced: a card number must not be taken for a telephone's.
PATTERNS = {
    "email": Pattern(re.compile(r"\b[\w.+\-]{1,64}@(?:[A-Za-z0-9\-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"), lambda _: True, "<email>"),
    "iban": Pattern(re.compile(r"\b[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]{4}){2,7}(?:[ \-]?[A-Z0-9]{1,3})?\b"), iban, "<iban>"),
    "card": Pattern(re.compile(r"(?<![\d\-])\d(?:[ \-]?\d){12,18}(?![\d\-])"), luhn, "<card number>"),
    "ip": Pattern(
        re.compile(r"(?<![\w.:])(?:\d{1,3}(?:\.\d{1,3}){3}|(?:[0-9A-Fa-f]{1,4}:){2,7}(?::?[0-9A-Fa-f]{1,4}){1,7})(?![\w.:])"),
        public_ip, "<ip address>",
    ),
    "phone": Pattern(
        re.compile(
            r"(?<![\w+.])"
            r"(?:\+\d{1,3}(?:[ .\-]?\(?\d{1,4}\)?){2,6}|(?:\(\d{1,4}\)[ .\-]?)?\d{2,4}(?:[ .\-]\d{2,4}){2,5})"
            r"(?![\w\-])"
        ),
        phone, "<phone>",
    ),
}  # fmt: skip


def replaced(text: str, find: list[str]) -> tuple[str, dict[str, int]]:
    """(`text` with placeholders, how many of each kind)."""
    counts: dict[str, int] = {}
    for name, pattern in PATTERNS.items():
        if name not in find:
            continue

        def put(match: re.Match[str], name: str = name, pattern: Pattern = pattern) -> str:
            if not pattern.holds(match[0]):
                return match[0]
            counts[name] = counts.get(name, 0) + 1
            return pattern.placeholder

        text = pattern.looks.sub(put, text)
    return text, counts


class PersonalDataStep(Step):
    def __init__(self, desk: Desk, settings: PersonalData) -> None:
        super().__init__("personal-data", desk, settings)
        self.settings = settings

    def judge(self, document: Document) -> Verdict:
        text, counts = replaced(document.text, list(self.settings.find))
        if not counts:
            return None
        if self.settings.action == "drop":
            return Dropped(" and ".join(sorted(counts)))
        document.text = text
        return Kept(note=f"replaced: {', '.join(sorted(counts))}")
