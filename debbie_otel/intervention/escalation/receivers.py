"""Who is told: settings and environment into receivers, checked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import httpx
import msgspec

from debbie_otel.errors import ConfigurationError
from debbie_otel.intervention.escalation.alertmanager import PATH
from debbie_otel.intervention.escalation.delivery import Receiver
from debbie_otel.intervention.settings import EscalationSettings, WebhookSettings

_SECTION = "interventions.escalation"
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def receivers(settings: EscalationSettings, environ: Mapping[str, str]) -> tuple[Receiver, ...]:
    """Return the receivers.

    Args:
        settings: URLs, and names of variables.
        environ: Variables with secrets.

    Raises:
        ConfigurationError: A URL that is none, a variable that is not set. Values are not told.

    """
    for name in settings.labels:
        if _LABEL.fullmatch(name) is None:
            hint = "letters, digits and _, no digit first"
            raise ConfigurationError(f"{_SECTION}.labels", f"{name!r} is no name of a label", hint)
    found = []
    for number, url in enumerate(settings.alertmanager):
        origin = _origin(url, f"{_SECTION}.alertmanager[{number}]")
        path = httpx.URL(url).path.rstrip("/") + PATH
        full = str(httpx.URL(url).copy_with(path=path))
        found.append(Receiver("alertmanager", f"alertmanager {origin}", full))
    for number, hook in enumerate(settings.webhooks):
        found.append(_webhook(hook, f"{_SECTION}.webhooks[{number}]", environ))
    return tuple(_told_apart(found))


def _told_apart(found: Iterable[Receiver]) -> Iterator[Receiver]:
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
            raise ConfigurationError(place, f"{name!r} is no name of a header")
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
        raise ConfigurationError(where, "is no URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ConfigurationError(where, "expected a URL that begins with http:// or https://")
    host = f"[{parsed.host}]" if ":" in parsed.host else parsed.host
    return f"{parsed.scheme}://{host}" + (f":{parsed.port}" if parsed.port else "")
