"""
An ACME CA in memory, strict about what RFC 8555 lets a client send, with faults on demand.

It is a `twisted.web` resource behind treq's `RequestTraversalAgent`: requests are real HTTP, parsed by a real server,
without a socket. Signatures, nonces, URLs and payloads are checked with josepy's own JWS, not with ours.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from josepy.json_util import decode_b64jose, encode_b64jose
from josepy.jwk import JWK, JWKOct
from josepy.jws import JWS
from treq.testing import RequestTraversalAgent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from sptls.acme.renewal import certificate_identifier
from sptls.errors import StoreError
from sptls.interfaces import IAccounts, IOrders

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.web.server import Request

    from sptls.certs.records import AccountRecord, OrderRecord
    from sptls.names import HostName

ORIGIN = "https://ca.test"
DIRECTORY = f"{ORIGIN}/directory"
NOW = datetime(2026, 8, 1, 12, 0, tzinfo=UTC)
PROBLEM = "application/problem+json"


@attrs.frozen
class Reply:
    """
    An answer of the CA's; with *hangs* there is none.
    """

    status: int = 200
    content: bytes = b""
    content_type: str = "application/json"
    fields: dict[str, str] = attrs.field(factory=dict)
    gives_nonce: bool = True
    hangs: bool = False


class Refusal(Exception):  # noqa: N818 - what the CA says, not a fault of this program
    """
    Ends a request with a problem document.
    """

    def __init__(self, status: int, kind: str, detail: str = "", **more: Any) -> None:
        super().__init__(kind)
        self.reply = problem(status, kind, detail, **more)


def problem(status: int, kind: str, detail: str = "", fields: dict[str, str] | None = None, **more: Any) -> Reply:
    """
    Make an answer that is a problem document.
    """
    document = {"type": f"urn:ietf:params:acme:error:{kind}", "detail": detail, **more}
    return Reply(status, json.dumps(document).encode(), PROBLEM, fields or {})


def json_reply(value: object, status: int = 200, fields: dict[str, str] | None = None) -> Reply:
    """
    Make an answer that is JSON.
    """
    return Reply(status, json.dumps(value).encode(), fields=fields or {})


@attrs.define
class Authority:
    """
    What signs: a root that issues end-entity certificates.
    """

    name: str = "Fake Root"
    key: ec.EllipticCurvePrivateKey = attrs.field(factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def _sign(self, subject: x509.Name, public: Any, extension: x509.ExtensionType, valid_from: datetime) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(valid_from)
            .not_valid_after(valid_from + timedelta(days=90))
            .add_extension(extension, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)

    def issue(self, csr: x509.CertificateSigningRequest, valid_from: datetime) -> bytes:
        """
        Give the chain for *csr*: the end-entity certificate and the root itself, PEM.
        """
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, self.name)])
        basic = x509.BasicConstraints(ca=True, path_length=None)
        end_entity = self._sign(x509.Name([]), csr.public_key(), names, valid_from)
        return end_entity + self._sign(name, self.key.public_key(), basic, valid_from)


AUTHORITY = Authority()
OTHER_AUTHORITY = Authority("Other Root")


@attrs.define
class FakeOrder:
    """
    An order in the CA's memory, with its only authorization and that one's challenges by type.
    """

    number: int
    account: str
    name: str
    status: str = "pending"
    authorization: str = "pending"
    challenges: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    csr: x509.CertificateSigningRequest | None = None
    chain: bytes = b""
    replaces: str = ""
    error: dict[str, Any] | None = None
    validation_polls: int = 0
    processing_polls: int = 0


class FakeCa(Resource):
    """
    The CA. *validate* judges a challenge: type, token and expected key authorization to a problem, or None for valid.
    """

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.agent = RequestTraversalAgent(self)  # type: ignore[no-untyped-call]
        self.faults: dict[str, deque[Reply]] = {}
        self.requests: Counter[str] = Counter()
        self.validate: Callable[[str, str, str], dict[str, Any] | None] = lambda *_: None
        self.challenge_types = ["http-01", "tls-alpn-01", "dns-01"]
        self.terms = f"{ORIGIN}/terms"
        self.external_accounts: dict[str, bytes] = {}
        self.accounts: dict[str, Any] = {}
        # RFC 9773: the window that is suggested for every certificate, None for a CA without renewal information.
        self.renewal_window: dict[str, str] | None = None
        self.profiles: dict[str, str] = {}
        self.revoked: dict[bytes, int] = {}
        self.payloads: list[dict[str, Any]] = []
        self.orders: list[FakeOrder] = []
        self.validation_polls = self.processing_polls = 0
        self.poll_fields: dict[str, str] = {}
        self.reuses_authorizations = False
        self.offers_other_chain = self.hanging = False
        self.valid_from = NOW - timedelta(hours=1)
        self.user_agents: set[str | None] = set()
        self._nonces: set[str] = set()
        self._nonce_count = 0

    @property
    def being_validated(self) -> list[FakeOrder]:
        """
        Give the orders of which a challenge was answered and no outcome is known.
        """
        return [
            order for order in self.orders if any(each["status"] == "processing" for each in order.challenges.values())
        ]

    def fail(self, operation: str, *replies: Reply) -> None:
        """
        Answer the next requests for *operation* with these replies, whatever they ask.
        """
        self.faults.setdefault(operation, deque()).extend(replies)

    def render(self, request: Request) -> Any:
        """
        Answer a request.
        """
        operation, _, number = request.path.decode().lstrip("/").partition("/")
        self.requests[operation] += 1
        self.user_agents.add(request.getHeader("user-agent"))
        reply = self._answer(request, operation, number)
        if reply.hangs:
            self.hanging = True
            request.notifyFinish().addErrback(lambda _: None)
            return NOT_DONE_YET
        request.setResponseCode(reply.status)
        request.setHeader("content-type", reply.content_type)
        for name, text in reply.fields.items():
            request.setHeader(name, text)
        if reply.gives_nonce and operation != "directory":
            request.setHeader("replay-nonce", self._new_nonce())
        return b"" if request.method == b"HEAD" else reply.content

    def _answer(self, request: Request, operation: str, number: str) -> Reply:
        try:
            if operation in ("directory", "newNonce", "renewalInfo"):
                return self._fault(operation) or self._unsigned(operation, number)
            account, jwk, payload = self._verified(request)
            fault = self._fault(operation)
            if fault is not None:
                return fault
            if operation == "newAccount":
                return self._new_account(jwk, payload)
            if operation == "newOrder":
                return self._new_order(account, payload)
            if operation == "revokeCert":
                return self._revoke(account, jwk, payload)
            order = self._order_of(account, int(number.partition("/")[0]))
            return cast("Reply", getattr(self, f"_{operation}")(order, payload, request))
        except Refusal as refusal:
            return refusal.reply

    def _unsigned(self, operation: str, identifier: str) -> Reply:
        if operation == "directory":
            return self._directory()
        if operation == "newNonce":
            return Reply()
        if self.renewal_window is None or self._issued(identifier) is None:
            raise Refusal(404, "malformed", "unknown certificate")
        return json_reply({"suggestedWindow": self.renewal_window, "explanationURL": f"{ORIGIN}/why"})

    def _issued(self, identifier: str) -> FakeOrder | None:
        """
        Give the order that the certificate with *identifier* came of.
        """
        chains = ((order, x509.load_pem_x509_certificates(order.chain)) for order in self.orders if order.chain)
        named = ((order, certificate_identifier(chain[0].public_bytes(Encoding.DER))) for order, chain in chains)
        return next((order for order, its_identifier in named if its_identifier == identifier), None)

    def _order_of(self, account: str, number: int) -> FakeOrder:
        if number >= len(self.orders):
            raise Refusal(404, "malformed", "no such order")
        order = self.orders[number]
        if order.account != account:
            raise Refusal(403, "unauthorized")
        return order

    def _fault(self, operation: str) -> Reply | None:
        queue = self.faults.get(operation)
        return queue.popleft() if queue else None

    def _new_nonce(self) -> str:
        self._nonce_count += 1
        nonce = f"nonce-{self._nonce_count}"
        self._nonces.add(nonce)
        return nonce

    def _verified(self, request: Request) -> tuple[str, JWK, Any]:
        """
        Check a request as RFC 8555 §6.2-6.5 want; give the account's URL, the key, and the payload (None: POST-as-GET).
        """
        if request.method != b"POST" or request.getHeader("content-type") != "application/jose+json":
            raise Refusal(415, "malformed", "not application/jose+json")
        body = json.loads(cast("Any", request.content).read())
        if set(body) != {"protected", "payload", "signature"}:
            raise Refusal(400, "malformed", "not a flattened JWS")
        protected = json.loads(decode_b64jose(body["protected"]))
        if protected["alg"] not in ("ES256", "RS256") or ("jwk" in protected) == ("kid" in protected):
            raise Refusal(400, "malformed", "kid or jwk")
        if protected["url"] != f"{ORIGIN}{request.path.decode()}":
            raise Refusal(401, "unauthorized", "url")
        if protected["nonce"] not in self._nonces:
            raise Refusal(400, "badNonce")
        self._nonces.remove(protected["nonce"])
        key = self._key(protected)
        if not JWS.from_json(body).verify(key):
            raise Refusal(400, "malformed", "signature")
        payload = decode_b64jose(body["payload"])
        return protected.get("kid", ""), key, json.loads(payload) if payload else None

    def _key(self, protected: dict[str, Any]) -> JWK:
        if "jwk" in protected:
            assert "d" not in protected["jwk"], "the private key was sent"
            return cast("JWK", JWK.from_json(protected["jwk"]))
        if protected["kid"] not in self.accounts:
            raise Refusal(400, "accountDoesNotExist", "no such account")
        return cast("JWK", self.accounts[protected["kid"]])

    def _directory(self) -> Reply:
        meta = {"termsOfService": self.terms, "externalAccountRequired": bool(self.external_accounts)}
        resources = {name: f"{ORIGIN}/{name}" for name in ("newNonce", "newAccount", "newOrder", "revokeCert")}
        if self.renewal_window is not None:
            resources["renewalInfo"] = f"{ORIGIN}/renewalInfo"
        if self.profiles:
            meta["profiles"] = self.profiles
        return json_reply({**resources, "meta": meta if self.terms else {}, "unknown": 1})

    def _new_account(self, key: JWK, payload: dict[str, Any]) -> Reply:
        self.payloads.append(payload)
        for url, known in self.accounts.items():
            if known == key:
                return json_reply({"status": "valid"}, 200, {"Location": url})
        if self.terms and payload.get("termsOfServiceAgreed") is not True:
            raise Refusal(403, "userActionRequired", "terms")
        if self.external_accounts:
            self._check_binding(key, payload.get("externalAccountBinding"))
        url = f"{ORIGIN}/account/{len(self.accounts)}"
        self.accounts[url] = key
        return json_reply({"status": "valid"}, 201, {"Location": url})

    def _check_binding(self, key: JWK, binding: Any) -> None:
        if binding is None:
            raise Refusal(403, "externalAccountRequired")
        protected = json.loads(decode_b64jose(binding["protected"]))
        mac_key = JWKOct(key=self.external_accounts[protected["kid"]])
        bound = json.loads(decode_b64jose(binding["payload"]))
        expected = {"alg": "HS256", "kid": protected["kid"], "url": f"{ORIGIN}/newAccount"}
        if protected != expected or not JWS.from_json(binding).verify(mac_key) or JWK.from_json(bound) != key:
            raise Refusal(403, "unauthorized", "binding")

    def _new_order(self, account: str, payload: dict[str, Any]) -> Reply:
        self.payloads.append(payload)
        (identifier,) = payload["identifiers"]
        if payload.get("profile", "") not in ("", *self.profiles):
            raise Refusal(400, "invalidProfile", "no such profile")
        order = FakeOrder(len(self.orders), account, identifier["value"], replaces=self._replaced(account, payload))
        order.validation_polls, order.processing_polls = self.validation_polls, self.processing_polls
        earlier = [each for each in self.orders if each.name == order.name and each.authorization == "valid"]
        if self.reuses_authorizations and earlier:
            order.authorization, order.status = "valid", "ready"
        for kind in self.challenge_types:
            token = encode_b64jose(f"{kind} {order.number} token".encode())
            url = f"{ORIGIN}/challenge/{order.number}/{kind}"
            order.challenges[kind] = {"type": kind, "url": url, "token": token, "status": "pending"}
        self.orders.append(order)
        return json_reply(self._order_json(order), 201, {"Location": f"{ORIGIN}/order/{order.number}"})

    def _replaced(self, account: str, payload: dict[str, Any]) -> str:
        """
        Check what an order replaces (RFC 9773 §5).
        """
        replaces: str = payload.get("replaces", "")
        if not replaces:
            return ""
        replaced = self._issued(replaces)
        if replaced is None or replaced.account != account:
            raise Refusal(403, "unauthorized", "the account did not request the certificate being replaced")
        if any(order.replaces == replaces and order.status == "valid" for order in self.orders):
            raise Refusal(409, "alreadyReplaced")
        return replaces

    def _revoke(self, account: str, key: JWK, payload: dict[str, Any]) -> Reply:
        """
        Revoke a certificate (§7.6), signed by the account that ordered it or by its own key.
        """
        der = decode_b64jose(payload["certificate"])
        order = self._issued(certificate_identifier(der))
        assert order is not None
        own = x509.load_der_x509_certificate(der).public_key()
        own_key = JWK.load(own.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        if account != order.account and key != own_key:
            raise Refusal(403, "unauthorized", "another account's")
        if der in self.revoked:
            raise Refusal(400, "alreadyRevoked")
        self.revoked[der] = payload.get("reason", 0)
        return Reply()

    def _order_json(self, order: FakeOrder) -> dict[str, Any]:
        shown: dict[str, Any] = {
            "status": order.status,
            "authorizations": [f"{ORIGIN}/authorization/{order.number}"],
            "finalize": f"{ORIGIN}/finalize/{order.number}",
        }
        if order.error:
            shown["error"] = order.error
        if order.status == "valid":
            shown["certificate"] = f"{ORIGIN}/certificate/{order.number}"
        return shown

    def _order(self, order: FakeOrder, _payload: None, _request: Request) -> Reply:
        if order.status == "processing":
            if order.processing_polls:
                order.processing_polls -= 1
            else:
                order.status = "valid"
        return json_reply(self._order_json(order), 200, self.poll_fields if order.status == "processing" else {})

    def _authorization(self, order: FakeOrder, _payload: None, _request: Request) -> Reply:
        for challenge in order.challenges.values():
            if challenge["status"] == "processing":
                self._judge(order, challenge)
        shown = {
            "identifier": {"type": "dns", "value": order.name},
            "status": order.authorization,
            "challenges": list(order.challenges.values()),
        }
        return json_reply(shown, 200, self.poll_fields if order.authorization == "pending" else {})

    def _judge(self, order: FakeOrder, challenge: dict[str, Any]) -> None:
        if order.validation_polls:
            order.validation_polls -= 1
            return
        thumbprint = encode_b64jose(self.accounts[order.account].thumbprint())
        error = self.validate(challenge["type"], challenge["token"], f"{challenge['token']}.{thumbprint}")
        if error:
            challenge.update(status="invalid", error=error)
            order.authorization = order.status = "invalid"
        else:
            challenge["status"] = order.authorization = "valid"
            order.status = "ready"

    def _challenge(self, order: FakeOrder, payload: Any, request: Request) -> Reply:
        challenge = order.challenges[request.path.decode().rsplit("/", 1)[-1]]
        if payload != {} or challenge["status"] != "pending":
            raise Refusal(400, "malformed", "challenge")
        challenge["status"] = "processing"
        return json_reply(challenge)

    def _finalize(self, order: FakeOrder, payload: Any, _request: Request) -> Reply:
        if order.status != "ready":
            raise Refusal(403, "orderNotReady")
        order.csr = x509.load_der_x509_csr(decode_b64jose(payload["csr"]))
        assert order.csr.is_signature_valid
        order.status = "processing"
        return json_reply(self._order_json(order))

    def _certificate(self, order: FakeOrder, _payload: None, request: Request) -> Reply:
        assert order.csr is not None
        authority = OTHER_AUTHORITY if request.path.endswith(b"/other") else AUTHORITY
        other = f'<{ORIGIN}/certificate/{order.number}/other>;rel="alternate"'
        links = {"Link": other} if self.offers_other_chain else {}
        order.chain = order.chain or authority.issue(order.csr, self.valid_from)
        chain = order.chain if authority is AUTHORITY else authority.issue(order.csr, self.valid_from)
        return Reply(content=chain, content_type="application/pem-certificate-chain", fields=links)


@implementer(IOrders)
@attrs.define
class OrdersInMemory:
    """
    Orders by name; *fault* is what every call raises.
    """

    records: dict[HostName, OrderRecord] = attrs.field(factory=dict)
    fault: StoreError | None = None

    async def order(self, name: HostName) -> OrderRecord | None:
        """
        Give what is kept.
        """
        self._fail()
        return self.records.get(name)

    async def put_order(self, record: OrderRecord) -> None:
        """
        Keep it.
        """
        self._fail()
        self.records[record.name] = record

    async def remove_order(self, name: HostName) -> None:
        """
        Keep it no more.
        """
        self._fail()
        self.records.pop(name, None)

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault


@implementer(IAccounts)
@attrs.define
class AccountsInMemory:
    """
    Accounts by directory, and every record that was ever put.
    """

    records: dict[str, AccountRecord] = attrs.field(factory=dict)
    history: list[AccountRecord] = attrs.field(factory=list)

    async def account(self, directory: str) -> AccountRecord | None:
        """
        Give what is kept.
        """
        return self.records.get(directory)

    async def put_account(self, directory: str, record: AccountRecord) -> None:
        """
        Keep it.
        """
        self.records[directory] = record
        self.history.append(record)
