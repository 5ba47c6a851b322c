"""
What a server name gets: a context, a wait, an alert, or another server.

Keeps, for each configured name, its certificate and until when it is known to fail; the renewer changes them, the
listener asks for every connection. No file, no lock and no cryptography stand in the way of a name whose context was
made before. Which names there are is the configuration's to say; when a certificate is renewed, the renewer's.

RFC 6066 §3 (server_name), RFC 8446 §6.2 (alerts).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from zope.interface import implementer

from sptls.errors import BadCertificate
from sptls.interfaces import Hold, IServerContexts, Refuse
from sptls.names import HostName, NameTable
from sptls.tls.client_hello import INTERNAL_ERROR, UNRECOGNIZED_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from sptls.certs.bundle import CertificateBundle
    from sptls.clock import WallClock
    from sptls.config import DomainConfig, PassthroughConfig
    from sptls.tls.contexts import ContextCache, ServerContext

_UNKNOWN = Refuse(UNRECOGNIZED_NAME)
# Not unrecognized_name: the name is ours and will work again. Clients and their logs can tell a fault of ours, which
# passes, from a name that points to the wrong place.
_UNAVAILABLE = Refuse(INTERNAL_ERROR)


@attrs.define(eq=False)
class _Entry:
    """
    One configured name: 64 bytes, since there may be 100,000 of them.

    *ordered* is False for a name with its own certificate: nobody will issue one, so nobody waits for it. With
    *passthrough* another server has all of it.
    """

    name: HostName
    ordered: bool
    passthrough: PassthroughConfig | None = None
    bundle: CertificateBundle | None = None
    failing_until: datetime | None = None


@implementer(IServerContexts)
class ServedCertificates:
    """
    The certificates that are served, by server name.

    *on_want* is called when a client waits for a name, *on_damaged* once when a certificate turns out to be unusable;
    neither may raise. *default_name* answers for clients that send no server name.
    """

    def __init__(
        self,
        domains: Iterable[DomainConfig],
        default_name: HostName | None,
        contexts: ContextCache,
        now: WallClock,
        on_want: Callable[[HostName], None],
        on_damaged: Callable[[HostName, BadCertificate], None],
    ) -> None:
        self._contexts, self._now = contexts, now
        self._on_want, self._on_damaged = on_want, on_damaged
        self._settled: Callable[[HostName], None] | None = None
        self._entries: NameTable[_Entry] = NameTable()
        self._default: _Entry | None = None
        self.set_domains(domains, default_name)

    def answer(self, server_name: bytes | None) -> ServerContext | Hold | Refuse | PassthroughConfig:
        """
        Tell what a hello with *server_name* (as it came off the wire) gets, now.
        """
        entry = self._default if server_name is None else self._entries.get(server_name)
        if entry is None:
            return _UNKNOWN
        if entry.bundle is not None:
            # An expired certificate is served too: most mail clients show a page to click through, some don't check.
            # Nothing at all loses every click.
            try:
                return self._contexts.get(entry.name, entry.bundle)
            except BadCertificate as error:
                entry.bundle = None
                self._on_damaged(entry.name, error)
        return entry.passthrough or self._without_certificate(entry)

    def _without_certificate(self, entry: _Entry) -> Hold | Refuse:
        failing = entry.failing_until is not None and self._now() < entry.failing_until
        return Hold(entry.name) if entry.ordered and not failing else _UNAVAILABLE

    def want(self, name: HostName) -> None:
        """
        Say that a client is waiting for *name*'s certificate; it goes to the head of the queue.
        """
        self._on_want(name)

    def watch(self, settled: Callable[[HostName], None]) -> None:
        """
        Have *settled* called whenever a name's answer may have changed (issued, failed, removed); once per process.
        """
        self._settled = settled

    def replace(self, name: HostName, bundle: CertificateBundle) -> None:
        """
        Serve *bundle* for *name* from the next handshake on; a name that is not configured any more is left alone.
        """
        entry = self._entries.own(name)
        if entry is not None and entry.passthrough is None:
            entry.bundle, entry.failing_until = bundle, None
            self._settle(name)

    def fail(self, name: HostName, until: datetime) -> None:
        """
        Refuse clients of *name*, while it has no certificate, until its next attempt; those that wait, at once.
        """
        entry = self._entries.own(name)
        if entry is not None:
            entry.failing_until = until
            self._settle(name)

    def withdraw(self, name: HostName) -> None:
        """
        Serve *name*'s certificate no more, since it can't be.
        """
        entry = self._entries.own(name)
        if entry is not None and entry.bundle is not None:
            entry.bundle = None
            self._settle(name)

    def settled_names(self) -> list[HostName]:
        """
        Give the names that have a certificate, or are known to fail.
        """
        return [entry.name for entry in self._entries if entry.bundle is not None or entry.failing_until is not None]

    def settled(self, name: HostName) -> tuple[CertificateBundle | None, datetime | None] | None:
        """
        Give the configured *name*'s certificate and until when it fails, each None where it is not so.
        """
        entry = self._entries.own(name)
        return None if entry is None else (entry.bundle, entry.failing_until)

    def passthrough_for(self, name: HostName) -> PassthroughConfig | None:
        """
        Give the server that has the configured *name*, or None where this one does.
        """
        entry = self._entries.own(name)
        return None if entry is None else entry.passthrough

    def bundle_for(self, name: HostName) -> CertificateBundle | None:
        """
        Give the certificate that is served for the configured *name*, or None; a wildcard's is its own only.
        """
        entry = self._entries.own(name)
        return None if entry is None else entry.bundle

    def has_valid(self, host: bytes) -> bool:
        """
        Tell whether *host* (as it came off the wire) would be served a certificate that is valid now and covers it.
        """
        entry = self._entries.get(host)
        if entry is None or entry.bundle is None:
            return False
        return entry.bundle.valid_at(self._now()) and entry.bundle.covers(entry.name)

    def set_domains(self, domains: Iterable[DomainConfig], default_name: HostName | None) -> None:
        """
        Serve exactly *domains* from now on; names that stay keep their certificates, failures and contexts.
        """
        before, entries, other = self._entries, [], []
        has_any = bool(len(before))  # at the start there is none, and there may be 100,000 domains
        for domain in domains:
            old = (has_any and self._entries.own(domain.name)) or _Entry(domain.name, ordered=True)
            old.ordered = domain.is_ordered
            if old.passthrough != domain.passthrough:
                old.passthrough, old.bundle = domain.passthrough, None
                other.append(domain.name)
            entries.append((domain.name, old))
        self._entries = NameTable(entries)
        self._default = None if default_name is None else self._entries.get(default_name.wire)
        other += [entry.name for entry in before if self._entries.own(entry.name) is None]
        for name in other:
            self._contexts.drop(name)
            self._settle(name)

    def _settle(self, name: HostName) -> None:
        if self._settled is not None:
            self._settled(name)
