"""
Taking certificates over without a daemon: into the store that it will start with.
"""

from __future__ import annotations

from random import SystemRandom
from typing import TYPE_CHECKING, Final

from sptls import startup
from sptls.certs import schedule
from sptls.certs.intake import Keep, Outcome, Refuse, Take, judge
from sptls.certs.records import NO_HISTORY, Loaded
from sptls.certs.schema import STORE_FILE
from sptls.certs.store_file import StoreFile
from sptls.cli.issue_here import process_for
from sptls.cli.stored import Stored
from sptls.clock import wall_time
from sptls.errors import BadCertificate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sptls.certs.intake import Offer
    from sptls.cli.options import Place
    from sptls.config import Config

_draw: Final = SystemRandom().random


def judge_here(where: Place, offers: Iterable[Offer]) -> Iterator[Outcome]:
    """
    Tell what would become of *offers*; reads only.

    Raises:
        SptlsError: the configuration or the store can't be read.
    """
    config, loaded = where.config(), Stored.at(where).loaded
    return (Outcome.of(_judge(config, loaded, offer)) for offer in offers)


def take_over_here(config: Config, offers: Iterable[Offer]) -> Iterator[Outcome]:
    """
    Store what is good of *offers*, and tell what became of each; no daemon may use the state directory meanwhile.

    Raises:
        StartError: the state directory can't be had.
        StoreError: the store can't be opened or written; what was told of before is stored.
    """
    process, lock = process_for(config.state_dir), startup.lock_state(config)
    store = StoreFile(config.state_dir / STORE_FILE, wall_time)
    try:
        store.open()
        loaded = store.load()
        for offer in offers:
            yield _take_over(store, loaded, offer, _judge(config, loaded, offer))
    finally:
        store.close()
        lock.release()
        # What was made here is the daemon's from now on.
        startup.give_away(config.state_dir, process)


def _judge(config: Config, loaded: Loaded, offer: Offer) -> Take | Keep | Refuse:
    held = loaded.certificates.get(offer.name)
    directories = [acme.directory for acme in config.cas]
    return judge(offer, None if held is None else held.bundle, directories, wall_time(), _draw())


def _take_over(store: StoreFile, loaded: Loaded, offer: Offer, decision: Take | Keep | Refuse) -> Outcome:
    if isinstance(decision, Take):
        history = loaded.histories.get(offer.name, NO_HISTORY)
        try:
            store.put_certificate(decision.certificate, schedule.after_success(history, wall_time()))
        except BadCertificate as error:  # it has expired meanwhile
            return Outcome("refused", str(error))
    return Outcome.of(decision)
