"""
What ``twistd sptls`` understands: options, and the service maker that twistd calls before it forks.

Every fault of the start ends here, while standard error and the exit status are still the operator's: 2 for the
configuration, 1 for the rest. After twistd's fork an exit would hang its parent.
"""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from twisted.python import usage

from sptls import early_signals
from sptls.config_load import Overrides
from sptls.config_source import ConfigSource
from sptls.errors import ConfigError, StartError
from sptls.openssl_settings import load_openssl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.application.service import IService


EXIT_CONFIGURATION = 2
EXIT_START = 1


class Options(usage.Options):
    """
    The command line after ``twistd sptls``.
    """

    synopsis = "[options]"
    longdesc = (
        "A TLS proxy for e-mail tracking domains. It gets a certificate for each domain by itself, renews it for ever, "
        "and passes every click and open to the tracking service. The common case needs no file: twistd sptls --domain "
        "click.example.com --contact ops@example.com --agree-to-terms. To try it on this machine: "
        "twistd -n --pidfile= sptls --demo"
    )
    optParameters: ClassVar = [  # noqa: N815 - Twisted's name
        ["config", "c", None, "Configuration file (TOML); the other options go before what it says."],
        ["state-dir", None, None, "Directory for certificates, keys and state [default: /var/lib/sptls]"],
        ["directory", None, None, "The CA: letsencrypt, letsencrypt-staging, internal or an ACME directory's URL"],
        ["upstream", None, None, "URL of the tracking service [default: https://spgo.io]"],
    ]
    optFlags: ClassVar = [  # noqa: N815 - Twisted's name
        ["agree-to-terms", None, "Agree to the CA's terms of service; no public CA issues without."],
        ["renew-only", None, "Keep certificates fresh for another server: no proxy, copies in deploy.directory."],
        ["take-over", None, "Take the sockets over from the running process, which drains and ends; no click is lost."],
        ["demo", None, "Serve click.localhost with everything that it needs on this machine: try the whole product."],
        ["log-json", None, "Write the daemon's own log as one JSON object a line."],
    ]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        for name in ("domain", "contact", "https", "http"):
            self[name] = ()

    def opt_domain(self, name: str) -> None:
        """
        A tracking domain to serve; may be given again.
        """
        self["domain"] += (name,)

    def opt_contact(self, address: str) -> None:
        """
        An e-mail address that the CA may write to; may be given again.
        """
        self["contact"] += (address,)

    def opt_https(self, address: str) -> None:
        """
        Where to serve HTTPS, HOST:PORT or :PORT; may be given again [default: :443]
        """
        self["https"] += (address,)

    def opt_http(self, address: str) -> None:
        """
        Where to serve HTTP, HOST:PORT or :PORT; may be given again [default: :80]
        """
        self["http"] += (address,)

    def parseOptions(self, options: Sequence[str] | None = None) -> None:  # noqa: N802 - Twisted's name
        """
        Parse as usual, but end with our exit status when the words are wrong.
        """
        try:
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            _end(EXIT_CONFIGURATION, f"sptls: {error}. See: twistd sptls --help")


def makeService(options: Options) -> IService:  # noqa: N802 - Twisted's name
    """
    Check, lock and bind everything, and give the service that twistd starts after its fork.

    Raises:
        SystemExit: 2 for faults of the configuration, 1 when the daemon can't start; standard error says why.
    """
    if options["demo"] and options["take-over"]:
        _end(EXIT_CONFIGURATION, "sptls: --take-over does not go with --demo; end the demo that runs with Ctrl-C")
    settings: Any = options.parent or {}
    # Before the imports: a reload must not end a daemon that is about to serve.
    early_signals.go_on(foreground=bool(settings["nodaemon"]))
    # Nothing that the start makes is garbage, and with 100,000 domains looking for some is an eighth of its time. The
    # service enables it again.
    gc.disable()
    load_openssl()
    from twisted.internet import reactor

    from sptls import service
    from sptls.inherited_sockets import from_environment, put_back
    from sptls.startup import ProcessSettings

    process = ProcessSettings.from_twistd(settings, log_json=bool(options["log-json"]))
    try:
        put_back(os.environ)
        inherited = from_environment(os.environ)
        if options["demo"]:
            from sptls.demo import service as demo

            return demo.make(reactor, process, _overrides(options))
        origin = source(options, foreground=process.foreground)
        return service.make(
            reactor,
            process,
            origin.load_for_start(),
            source=origin,
            inherited=inherited,
            is_taking_over=bool(options["take-over"]),
        )
    except ConfigError as error:
        faults = "".join(f"\n  {fault}" for fault in error.faults)
        if not (options["config"] or options["demo"]):
            faults += (
                "\n  no configuration file was named (--config): all that counts are the options of the command line"
            )
        _end(EXIT_CONFIGURATION, f"sptls: the configuration can't be used; nothing was started:{faults}")
    except StartError as error:
        _end(EXIT_START, f"sptls: can't start: {error}")


def source(options: Options, *, foreground: bool) -> ConfigSource:
    """
    Give the source of the configuration that the options and their file amount to.
    """
    path = options["config"]
    return ConfigSource(None if path is None else Path(path), _overrides(options), foreground)


def _overrides(options: Options) -> Overrides:
    return Overrides(
        domains=options["domain"],
        contact=options["contact"],
        agree_to_terms=bool(options["agree-to-terms"]),
        state_dir=options["state-dir"],
        directory=options["directory"],
        upstream=options["upstream"],
        https=options["https"],
        http=options["http"],
        renew_only=bool(options["renew-only"]),
    )


def _end(status: int, message: str) -> NoReturn:
    sys.stderr.write(message + "\n")
    raise SystemExit(status)
