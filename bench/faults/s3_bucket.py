"""The bucket of a hostile-store run: what it holds, what it ever held, and the way back to its first state."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pipelines.embedded.bucket import client, make_bucket

THREADS = 8
WORDS = ("invoice", "refund", "holiday", "router", "contract", "visitor", "badge", "training", "travel", "parking")


class LabBucket:
    """Objects by key below one prefix: `first`, `now`, and `held`, every content since the last `restore`. Thread-safe."""

    def __init__(self, endpoint: str, name: str, prefix: str) -> None:
        self.s3 = client(endpoint)
        self.name = name
        self.prefix = prefix
        self.now: dict[str, bytes] = {}
        self.held: dict[str, set[bytes]] = {}
        self.first: dict[str, bytes] = {}
        self._lock = threading.Lock()
        make_bucket(self.s3, name)

    def fill(self, objects: Mapping[str, bytes]) -> None:
        """Put the first state, by key below the prefix."""
        self.first = {self.prefix + key: data for key, data in objects.items()}
        self._each(self.put, self.first.items())

    def restore(self) -> None:
        """Back to the first state; the memory of other contents is cleared."""
        self._each(lambda key, _: self.remove(key), [(key, b"") for key in self.now.keys() - self.first.keys()])
        self._each(self.put, [(key, data) for key, data in self.first.items() if self.now.get(key) != data])
        self.held = {key: {data} for key, data in self.first.items()}

    def put(self, key: str, data: bytes) -> None:
        """Write one object, `key` with its prefix."""
        with self._lock:
            self.held.setdefault(key, set()).add(data)
        self.s3.put_object(Bucket=self.name, Key=key, Body=data)
        with self._lock:
            self.now[key] = data

    def remove(self, key: str) -> None:
        """Delete one object."""
        with self._lock:
            self.now.pop(key, None)
        self.s3.delete_object(Bucket=self.name, Key=key)

    def token_after(self, token: str, page_keys: int) -> str:
        """The continuation token of the page after the one that `token` asks for."""
        page = self.s3.list_objects_v2(Bucket=self.name, Prefix=self.prefix, MaxKeys=page_keys, ContinuationToken=token)
        return str(page["NextContinuationToken"])

    def _each(self, work: Any, pairs: Iterable[tuple[str, bytes]]) -> None:
        with ThreadPoolExecutor(THREADS) as threads:
            list(threads.map(lambda pair: work(*pair), pairs))


def version(data: bytes) -> str:
    """The change token of an object with these bytes, as the S3 source makes it."""
    return f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}:{len(data)}"


def letter(rng: random.Random, key: str) -> bytes:
    """One short text that no other key or version has."""
    words = " ".join(rng.choices(WORDS, k=rng.randrange(8, 30)))
    return f"Notice {rng.randrange(10**9)} about {key.encode().hex()[:24]}: {words}.\n".encode()


def names(count: int) -> list[str]:
    """Keys of which some hold spaces, percent signs, other scripts and what XML and URLs give a meaning."""
    odd = ("a b", "100%", "%41", "ünï/日本語 🙂", "a+b=c&d", "<x>", "q?e#f", "a..b/c..", "'s\"", "é")
    return [f"{number:04d}/{odd[number % len(odd)] if number % 5 == 0 else 'note'}.txt" for number in range(count)]


def odd_names() -> list[str]:
    """Keys at the edges of what S3 allows, all of a loadable type."""
    edges = [
        "../up.txt",
        "a//b.txt",
        "/absolute.txt",
        "./dot.txt",
        " lead and trail .txt",
        "\x01control\x1f.txt",
        "\x7f.txt",
    ]
    edges += ["back\\slash.txt", "%2e%2e/%2Fetc.txt", "%00.txt", "tab\t.txt", "e\u0301.txt", "\u00e9.txt", "\u202egnp.txt"]
    return [*edges, "y" * 1000 + ".txt", "deep/" * 60 + "leaf.txt"]
