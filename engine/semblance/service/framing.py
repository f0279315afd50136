"""A request's head, judged by what a proxy in front might read another way than we do.

In: the method, target, version and headers that the parser made out. Out: nothing, or a Problem. The parser itself
(llhttp) refuses both lengths at once, a length twice, folded headers, bare line ends and spaces before a colon; left to
us are the names of the host, what else a body may be wrapped in, and forms of the target.
"""

from __future__ import annotations

from collections.abc import Sequence

from semblance.service.problems import Problem
from semblance.service.refusals import malformed

Header = tuple[bytes, bytes]  # the name in lower case
_WISHES = (b"upgrade", b"http2-settings")


def check_head(method: bytes, target: bytes, version: str, headers: Sequence[Header]) -> None:
    """Raises Problem for a head that is not to be answered by the application."""
    if version not in ("1.0", "1.1"):
        raise Problem(505, "http-version-not-supported", f"HTTP/{version} is not spoken here; HTTP/1.1 is")
    if method == b"CONNECT":
        raise malformed("CONNECT is for proxies; this is none")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        raise malformed(f"the request has {len(hosts)} Host headers; it must have one")
    for name, value in headers:
        if name == b"transfer-encoding":
            if version == "1.0":
                raise malformed("a Transfer-Encoding in HTTP/1.0, where nobody has to understand it")
            if value.lower() != b"chunked":
                raise Problem(501, "not-implemented", "the only Transfer-Encoding understood here is chunked")
    if not target.startswith(b"/") and not (target == b"*" and method == b"OPTIONS"):
        _check_authority(target, hosts)


def _check_authority(target: bytes, hosts: Sequence[bytes]) -> None:
    """The form for proxies, http://host/path: its host counts and not the header's, so they must be the same."""
    scheme, separator, rest = target.partition(b"://")
    authority, slash, _ = rest.partition(b"/")
    if scheme.lower() not in (b"http", b"https") or not separator or not slash:
        raise malformed("the request's target must be a path that begins with /")
    if [authority.lower()] != [host.lower() for host in hosts]:
        raise malformed("the request's target names another host than its Host header")


def without_upgrade(method: bytes, target: bytes, headers: Sequence[Header]) -> bytes:
    """The head of a request of HTTP/1.1 again, without the wish to go on in another protocol."""
    lines = [b"%s %s HTTP/1.1" % (method, target)]
    for name, value in headers:
        if name == b"connection":
            tokens = (token.strip() for token in value.split(b","))
            value = b", ".join(token for token in tokens if token.lower() not in _WISHES)
        if name not in _WISHES:
            lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join([*lines, b"", b""])
