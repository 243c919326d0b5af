"""The node's keys, where its settings say that they are."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from pystream.acl.keys import create_master_key, load_master_keys, root_of
from pystream.acl.sealing import MasterKeys, new_key
from pystream.acl.store.keystore import KeyStore
from pystream.errors import MasterKeyError, PystreamError
from pystream.server.settings import Keys


def ensure_keys(keys: Keys, environ: Mapping[str, str], now: int) -> None:
    """Makes the master key and what the key store has from its first day, where they are missing.

    Where there was a master key before there was a root, keys that were derived from it are in use:
    its root goes on giving them. Raises `PystreamError` for what is there and cannot be used, and
    `OSError`.
    """
    root = new_key()
    try:
        *_, oldest = load_master_keys(keys.master_key_file, environ)
        root = root_of(oldest)
    except FileNotFoundError:
        if _has_store(keys):
            raise MasterKeyError(_lost(keys)) from None
        with suppress(FileExistsError):
            create_master_key(keys.master_key_file)
    with open_key_store(keys, environ) as store:
        store.set_up(root, now)


def keys_of_another(keys: Keys, environ: Mapping[str, str]) -> str | None:
    """For a node that has no store yet: that its key store has keys of a store that was, as a sentence's end;
    None where it has none, or cannot be read, which is said elsewhere."""
    try:
        with open_key_store(keys, environ, migrate=False) as store:
            tenants = store.status().tenants
    except PystreamError:
        return None
    if not tenants:
        return None
    return (
        f"the key store that keys.store names has keys of a store that was here (tenants: {tenants}):"
        " bring that store back, or name it in store.url. Where it is lost for good, move the key store"
        " away: a new store gets new keys"
    )


def open_key_store(keys: Keys, environ: Mapping[str, str], *, migrate: bool = True) -> KeyStore:
    """The key store that the settings name, with their master keys and erasure list. Raises
    `PystreamError`, also where there is no master key yet."""

    def masters() -> MasterKeys:
        return MasterKeys.load(keys.master_key_file, environ)

    try:
        return KeyStore.open(keys.store, masters, keys.erasures, migrate=migrate)
    except MasterKeyError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        if _has_store(keys):
            raise MasterKeyError(_lost(keys)) from None
        raise MasterKeyError(
            f"{keys.master_key_file}: there is no master key yet; a server makes it, and the key"
            " store, when it is started for the first time (`pystream serve`)"
        ) from None


def _has_store(keys: Keys) -> bool:
    return os.path.exists(keys.store.removeprefix("sqlite:///"))


def _lost(keys: Keys) -> str:
    return (
        f"{keys.master_key_file}: the master key is missing, under which the keys in {keys.store}"
        " were wrapped: bring it back"
    )
