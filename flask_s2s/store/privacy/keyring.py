"""The installation's own keys: made at first use, and those that hash people stored wrapped.

The *identity key* hashes the addresses and user IDs of bindings. The *person key* hashes the e-mail
address beside a delivery, the customer of an operator's act, and what is left of a row that was
forgotten. A dump of the database alone opens neither. A key that an older secret of the site's opens
is wrapped anew under the newest one whenever a process prepares. A process that has opened a key
remembers it: others may be started with a newer secret before it ends. Where no secret opens a key
there is none: nothing is found by it, `flask s2s check` says so, and nothing fails.

Wrapping. Of what is installed anyway, nothing encrypts (itsdangerous signs), and a compiled library
for two keys of 32 bytes would be one more thing to install everywhere. So this is the textbook
composition of what the standard library has: HKDF (RFC 5869, HMAC-SHA-256) makes a pad and a MAC key
from the secret, a random salt and the key's name; the pad, as long as the key and never used twice,
is XORed; the tag is over salt and ciphertext, and is checked before anything is decrypted. A key is
32 bytes, so there is no mode and no padding. The name is part of the derivation: a wrapped key that
is copied to another name does not open.

The *installation's key* keys the hashes that de-duplicate, so that rotating SECRET_KEY forgets no
customer. It is made with the tables. A migration makes tables and no rows: there the process writes
it when it prepares, and a sign-up that comes before that must not fail: it commits the key on a
connection of its own, because a key that the caller's rollback takes back must not be remembered.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Pool, select, update

from ...errors import StorageError
from ...rules.identity import keyed_hash
from ..database.storage import Storage
from ..dialects.servers import begin_writing, has_one_writer
from ..dialects.statements import inserting_once
from ..schema import IDENTITY_KEY, PERSON_KEY, fill_meta

_NAMES = (IDENTITY_KEY, PERSON_KEY)


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the installation's own."""

    secret: bytes

    def __repr__(self) -> str:
        return "Key(...)"

    def hash(self, *parts: str) -> str:
        """Return what is stored of something that must not be stored."""
        return keyed_hash(self.secret, *parts)


class Keyring:
    """The keys of one database."""

    def __init__(self, storage: Storage, site: Sequence[str | bytes]) -> None:
        """`site` are the site's secrets, oldest first: the last one wraps."""
        self._storage = storage
        self._meta = storage.tables.meta
        self._site = [one.encode() if isinstance(one, str) else one for one in site]
        self._opened: dict[str, Key] = {}
        #: The person key, once it is known to be committed.
        self._people: Key | None = None

    def prepare(self) -> None:
        """Make what is missing, and wrap anew what an older secret has wrapped."""
        with self._storage.connect() as connection:
            stored = self._stored(connection)
        if not all(name in stored and self._is_current(name, stored[name]) for name in _NAMES):
            self._storage.write(self._complete)
            with self._storage.connect() as connection:
                stored = self._stored(connection)
        self._people = self._open(PERSON_KEY, stored[PERSON_KEY])

    def _complete(self, connection: Connection) -> None:
        begin_writing(connection, self._meta)
        stored = self._stored(connection)
        for name in _NAMES:
            if name in stored:
                self._rewrap(connection, name, stored[name])
            else:
                self._add(connection, name)

    def identity(self, connection: Connection) -> Key | None:
        """Return the identity key. None: there is none yet, or nothing opens it."""
        value = self._stored(connection).get(IDENTITY_KEY)
        return None if value is None else self._open(IDENTITY_KEY, value)

    def identity_to_write(self, connection: Connection) -> Key | None:
        """Return the identity key; it is made where there is none yet. None: nothing opens it."""
        return self._open(IDENTITY_KEY, self._there(connection, IDENTITY_KEY))

    def person(self, connection: Connection) -> Key | None:
        """Return the person key; it is made where there is none yet. None: nothing opens it."""
        if self._people is not None:
            return self._people
        key = self._open(PERSON_KEY, self._there(connection, PERSON_KEY))
        if not has_one_writer(connection):
            self._people = key
        return key

    def _there(self, connection: Connection, name: str) -> str:
        """Return a stored key, made where there is none."""
        value = self._stored(connection).get(name)
        if value is not None:
            return value
        if has_one_writer(connection):
            # In the caller's transaction: a rollback takes it back.
            self._add(connection, name)
            return self._stored(connection)[name]
        # In a transaction of our own: the caller's may be rolled back.
        self._storage.write(lambda apart: self._add(apart, name))
        with self._storage.connect() as apart:
            return self._stored(apart)[name]

    def count(self) -> tuple[int, int]:
        """Return how many keys there are, and how many of them no secret of the site's opens."""
        with self._storage.connect() as connection:
            stored = self._stored(connection)
        shut = sum(self._open(name, value) is None for name, value in stored.items())
        return len(stored), shut

    # -----------------------------------------------------------------------------------------

    def _is_current(self, name: str, value: str) -> bool:
        return unwrap(value, self._site[-1], name) is not None

    def _stored(self, connection: Connection) -> dict[str, str]:
        meta = self._meta
        named = select(meta.c.name, meta.c.value).where(meta.c.name.in_(_NAMES))
        return {name: value for name, value in connection.execute(named)}

    def _add(self, connection: Connection, name: str) -> None:
        row = {"name": name, "value": self._wrapped(name, secrets.token_bytes(KEY))}
        connection.execute(inserting_once(connection, self._meta), row)

    def _wrapped(self, name: str, key: bytes) -> str:
        return wrap(key, self._site[-1], name, secrets.token_bytes(SALT))

    def _open(self, name: str, value: str) -> Key | None:
        for secret in reversed(self._site):
            opened = unwrap(value, secret, name)
            if opened is not None:
                self._opened[name] = key = Key(opened)
                return key
        return self._opened.get(name)

    def _rewrap(self, connection: Connection, name: str, value: str) -> None:
        if self._is_current(name, value):
            return
        for secret in self._site[:-1]:
            opened = unwrap(value, secret, name)
            if opened is not None:
                # Where another process was first, its wrapping is as good.
                this = (self._meta.c.name == name, self._meta.c.value == value)
                anew = {"value": self._wrapped(name, opened)}
                connection.execute(update(self._meta).where(*this).values(anew))
                return


#: Bytes of a key, of a salt and of a tag.
KEY = 32
SALT = 16
_VERSION = "w1."
_LABEL = b"flask-s2s.wrap.1\x00"


def wrap(key: bytes, secret: bytes, name: str, salt: bytes) -> str:
    """Return `key` (32 bytes) as it is stored; `salt` is 16 bytes that were never used before."""
    if len(key) != KEY or len(salt) != SALT:
        raise ValueError("a key has 32 bytes, and a salt 16")
    pad, mac = _derived(secret, name, salt)
    hidden = _xor(key, pad)
    return _VERSION + urlsafe_b64encode(salt + hidden + _tag(mac, salt + hidden)).decode()


def unwrap(stored: str, secret: bytes, name: str) -> bytes | None:
    """Return the key that was wrapped under this secret and name; None: it was not."""
    try:
        raw = urlsafe_b64decode(stored.removeprefix(_VERSION))
    except ValueError:
        return None
    if not stored.startswith(_VERSION) or len(raw) != SALT + KEY + KEY:
        return None
    salt, hidden, tag = raw[:SALT], raw[SALT : SALT + KEY], raw[SALT + KEY :]
    pad, mac = _derived(secret, name, salt)
    if not hmac.compare_digest(_tag(mac, salt + hidden), tag):
        return None
    return _xor(hidden, pad)


def _derived(secret: bytes, name: str, salt: bytes) -> tuple[bytes, bytes]:
    """Extract and expand, as RFC 5869 says: a pad and a MAC key."""
    extracted = hmac.digest(salt, secret, "sha256")
    info = _LABEL + name.encode()
    first = hmac.digest(extracted, info + b"\x01", "sha256")
    return first, hmac.digest(extracted, first + info + b"\x02", "sha256")


def _tag(mac: bytes, message: bytes) -> bytes:
    return hmac.digest(mac, message, "sha256")


def _xor(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))


class Installation:
    """Reads the key once, and writes it where it is missing."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._meta = meta = storage.tables.meta
        self._named = select(meta.c.value).where(meta.c.name == "installation")
        #: By pool: a file that was deleted under us makes way for one with another key.
        self._keys: WeakKeyDictionary[Pool, str] = WeakKeyDictionary()

    def key(self, connection: Connection) -> str:
        """Return the key. Raises what the database raises."""
        pool = connection.engine.pool
        if (known := self._keys.get(pool)) is not None:
            return known
        key: str | None = connection.scalar(self._named)
        if key is None and has_one_writer(connection):
            # The caller may be the one who writes.
            fill_meta(self._meta, connection)
            return _there(connection.scalar(self._named))
        self._keys[pool] = key = key or self._write()
        return key

    def _write(self) -> str:
        self._storage.write(lambda connection: fill_meta(self._meta, connection))
        with self._storage.connect() as connection:
            return _there(connection.scalar(self._named))


def _there(key: str | None) -> str:
    if key is None:
        raise StorageError("s2s_meta has no installation key", "Run `flask s2s init-db`.")
    return key
