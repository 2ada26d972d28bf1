"""Receivers from settings and environment, and messages to them over HTTP.

A message is bounded in time, and tried again where that can help.

What a receiver is called (in outcomes, logs and telemetry) is its origin alone: path, query and
credentials of a webhook's URL are secrets.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

import httpx
import msgspec

from debbie_otel.errors import ConfigurationError
from debbie_otel.intervention.escalation import webhook
from debbie_otel.intervention.escalation.alertmanager import PATH
from debbie_otel.intervention.intervention_config import EscalationSettings, WebhookSettings

MAX_WAIT = 30.0
"""Seconds between two tries at most, whatever `Retry-After` asks for."""
MAX_RESPONSE = 64 << 10
"""Bytes of a response that are read, so that its connection can be used again."""

MAX_AT_ONCE = 4
"""Messages under way to one receiver at once: others do not wait for one that hangs."""
MAX_WAITING = 100
"""Messages to one receiver that are under way or wait; beyond, they fail at once."""

_SECTION = "interventions.escalation"
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TOO_MANY = 429
_SERVER_ERROR = 500


class Receiver(msgspec.Struct, frozen=True):
    """Where a message goes.

    Attributes:
        kind: What it understands.
        name: What it is called: kind and origin.
        url: All of it; never told.
        headers: Values from the environment; never told.
        secret: Signs what is sent; None signs nothing.

    """

    kind: Literal["alertmanager", "webhook"]
    name: str
    url: str
    headers: dict[str, str] = {}
    secret: bytes | None = None


def receivers(settings: EscalationSettings, environ: Mapping[str, str]) -> tuple[Receiver, ...]:
    """Return the receivers.

    Args:
        settings: URLs, and names of variables.
        environ: Variables with secrets.

    Raises:
        ConfigurationError: A URL that is not valid, a variable that is not set; values are not
            told.

    """
    for name in settings.labels:
        if _LABEL.fullmatch(name) is None:
            hint = "letters, digits and _, no digit first"
            raise ConfigurationError(
                f"{_SECTION}.labels", f"{name!r} is not a valid name of a label", hint
            )
    found = []
    for number, url in enumerate(settings.alertmanager):
        origin = _origin(url, f"{_SECTION}.alertmanager[{number}]")
        path = httpx.URL(url).path.rstrip("/") + PATH
        full = str(httpx.URL(url).copy_with(path=path))
        found.append(Receiver("alertmanager", f"alertmanager {origin}", full))
    for number, hook in enumerate(settings.webhooks):
        found.append(_webhook(hook, f"{_SECTION}.webhooks[{number}]", environ))
    return tuple(_with_names(found))


def _with_names(found: Iterable[Receiver]) -> Iterator[Receiver]:
    """Give a number to those that share an origin, as hooks of one service do."""
    seen: Counter[str] = Counter()
    for receiver in found:
        name = receiver.name
        seen[name] += 1
        if seen[name] > 1:
            receiver = msgspec.structs.replace(receiver, name=f"{name} #{seen[name]}")
        yield receiver


def _webhook(hook: WebhookSettings, where: str, environ: Mapping[str, str]) -> Receiver:
    origin = _origin(hook.url, f"{where}.url")
    secret = None
    if hook.secret_env is not None:
        secret = _variable(hook.secret_env, f"{where}.secret_env", environ).encode()
    headers = {}
    for name, variable in hook.headers_env.items():
        place = f"{where}.headers_env"
        if _HEADER.fullmatch(name) is None:
            raise ConfigurationError(place, f"{name!r} is not a valid name of a header")
        headers[name] = _variable(variable, place, environ)
    return Receiver("webhook", f"webhook {origin}", hook.url, headers, secret)


def _variable(name: str, where: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "")
    if not value:
        raise ConfigurationError(where, f"the environment variable {name} is not set")
    if not (value.isascii() and value.isprintable()):
        what = f"the environment variable {name} has characters that are not printable ASCII"
        raise ConfigurationError(where, what)
    return value


def _origin(url: str, where: str) -> str:
    """Return scheme, host and port, and nothing that could be secret."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ConfigurationError(where, "is not a valid URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigurationError(where, "expected a URL that begins with http:// or https://")
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return f"{parsed.scheme}://{host}" + (f":{parsed.port}" if parsed.port else "")


# -- sending -------------------------------------------------------------------------------------


class Delivery(msgspec.Struct, frozen=True):
    """How it went: `error` is None where it arrived; `again` says whether a retry may help."""

    error: str | None = None
    again: bool = False
    wait: float | None = None


class Sender:
    """Sends messages; `open` before, `close` after.

    Args:
        settings: Time of a try, number of tries, delay.
        clock: Nanoseconds since the epoch, for the signature.

    """

    def __init__(self, settings: EscalationSettings, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._clock = clock
        self._client: httpx.AsyncClient | None = None
        self._discretion: _Discretion | None = None
        self._rooms: dict[str, asyncio.Semaphore] = {}
        self._waiting: Counter[str] = Counter()
        self._closing = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def open(self, receivers: Iterable[Receiver]) -> None:
        """Get ready to send."""
        # Neither proxies nor certificates from the environment: a secret goes where it is meant to.
        self._client = httpx.AsyncClient(
            timeout=self._settings.timeout,
            trust_env=False,
            follow_redirects=False,
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=8),
        )
        self._discretion = _Discretion(receiver.url for receiver in receivers)
        logging.getLogger("httpx").addFilter(self._discretion)

    async def close(self) -> None:
        """End all connections; what is under way has the time of one try, and no other."""
        self._closing.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.timeout):
                await self._idle.wait()
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()
        if self._discretion is not None:
            logging.getLogger("httpx").removeFilter(self._discretion)

    async def send(self, receiver: Receiver, payload: bytes, delivery: str) -> Delivery:
        """Send a message, again and again where that can help; never raises.

        Args:
            receiver: Where to.
            payload: JSON.
            delivery: Id of the message, the same for each try.

        """
        name = receiver.name
        if self._waiting[name] >= MAX_WAITING:
            return Delivery("too many wait", again=True)
        self._waiting[name] += 1
        self._idle.clear()
        try:
            async with self._rooms.setdefault(name, asyncio.Semaphore(MAX_AT_ONCE)):
                return await self._try(receiver, payload, delivery)
        finally:
            self._waiting[name] -= 1
            if not self._waiting.total():
                self._idle.set()

    async def _try(self, receiver: Receiver, payload: bytes, delivery: str) -> Delivery:
        settings, result = self._settings, Delivery("not tried")
        for number in range(settings.attempts):
            if number:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_pause(settings.delay, number, result.wait)):
                        await self._closing.wait()
                if self._closing.is_set():
                    break
            result = await self.send_once(receiver, payload, delivery)
            if result.error is None or not result.again:
                break
        return result

    async def send_once(self, receiver: Receiver, payload: bytes, delivery: str) -> Delivery:
        """Send a message; never raises."""
        if self._client is None:
            return Delivery("not started")
        request = self._client.build_request(
            "POST",
            receiver.url,
            content=payload,
            headers=self._headers(receiver, payload, delivery),
        )
        try:
            # httpx bounds each step; a receiver that answers a byte at a time would get round that.
            async with asyncio.timeout(self._settings.timeout):
                response = await self._client.send(request, stream=True)
                try:
                    await _drain(response)
                finally:
                    await response.aclose()
        except (TimeoutError, httpx.TimeoutException):
            return Delivery("timeout", again=True)
        except httpx.TransportError as error:
            return Delivery(_failure(error), again=True)
        except (httpx.HTTPError, httpx.InvalidURL, RuntimeError) as error:
            return Delivery(type(error).__name__)
        return _judge(response)

    def _headers(self, receiver: Receiver, payload: bytes, delivery: str) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "debbie-otel",
            **receiver.headers,
        }
        if receiver.kind == "webhook":
            timestamp = str(self._clock() // 10**9)
            headers[webhook.DELIVERY] = delivery
            headers[webhook.TIMESTAMP] = timestamp
            if receiver.secret is not None:
                signed = webhook.signature(receiver.secret, timestamp, payload)
                headers[webhook.SIGNATURE] = signed
        return headers


class _Discretion(logging.Filter):
    """Keeps the URLs of receivers out of httpx' own log, which has a line for each request."""

    def __init__(self, urls: Iterable[str]) -> None:
        super().__init__()
        self._urls = frozenset(str(httpx.URL(url)) for url in urls)

    def filter(self, record: logging.LogRecord) -> bool:
        arguments = record.args if isinstance(record.args, tuple) else ()
        return not any(str(argument) in self._urls for argument in arguments)


async def _drain(response: httpx.Response) -> None:
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > MAX_RESPONSE:
            return


def _judge(response: httpx.Response) -> Delivery:
    if response.is_success:
        return Delivery()
    status = response.status_code
    again = status == _TOO_MANY or status >= _SERVER_ERROR
    return Delivery(f"HTTP {status}", again, _retry_after(response.headers) if again else None)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After` asks for (RFC 9110, section 10.2.3)."""
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    with suppress(ValueError, TypeError):
        when = parsedate_to_datetime(value)
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        return max((when - datetime.fromtimestamp(time.time(), UTC)).total_seconds(), 0.0)
    return None


def _pause(delay: float, number: int, asked: float | None) -> float:
    """Return the seconds before try `number`: doubled each time, with jitter up to a half."""
    pause: float = delay * 2 ** min(number - 1, 16) * random.uniform(0.5, 1.0)
    return min(max(pause, asked or 0.0), MAX_WAIT)


def _failure(error: httpx.TransportError) -> str:
    return "unreachable" if isinstance(error, httpx.ConnectError) else type(error).__name__
