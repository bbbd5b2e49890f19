"""Values that stand where a click ID should: names that nobody has filled in. Pure."""

from __future__ import annotations

import re

#: A name that was to be replaced by a value, as templates of mails, ads and pages write it.
_TEMPLATE = re.compile(
    r"[\s\"']*(?:\{.*\}|\[.*\]|<.*>|\(.*\)|\$.+|%.*%|#.*#|\*\|.*\|\*|@@?.*@@?|__.*__)[\s\"'.]*\Z",
    re.DOTALL,
)
_WORDLESS = re.compile(r"[^a-z0-9]+")
#: The same without its marks, and the words of programs for nothing.
_WORDS = frozenset(
    (
        "undefined null none nil nan na false true void empty unknown unset notset default missing "
        "placeholder todo tbd replaceme objectobject string value "
        "xid clickid clickidhere clickxid yourclickid yourclickidhere insertclickid "
        "insertclickidhere theclickid myclickid affclickid partnerclickid yourid yourxid transactionid "
        "enterclickid affclickidhere externalid subid affsub affsubid gclid fbclid msclkid ttclid "
        "undefinedundefined nullnull 0"
    ).split()
)


def wordless(value: str) -> str:
    """Return a short value as a bare word: in small letters, without its marks."""
    return _WORDLESS.sub("", value[:64].lower())


def is_placeholder(value: str) -> bool:
    """Say whether a value stands for a click ID that was never put in: `{click_id}`, `undefined`."""
    word = wordless(value)
    return not word or word in _WORDS or _TEMPLATE.match(value) is not None
