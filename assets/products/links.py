"""Links that a page may show.

Belongs here: which published links survive. Not here: following them.
"""

import html
from urllib.parse import urlsplit

#: Longest link that browsers and feeds agree on.
MAX_LENGTH = 2048


def clean_link(raw: str | None) -> str | None:
    """Return `raw` if it is an absolute http or https link without credentials, else None.

    Spaces are escaped, `&amp;` unescaped, and `//host/path` is read as https. Everything else, `javascript:` and
    `data:` first, is dropped.
    """
    link = html.unescape((raw or "").strip())
    if link.startswith("//"):
        link = f"https:{link}"
    scheme, separator, rest = link.partition("://")
    if not separator or scheme.lower() not in ("http", "https") or len(link) > MAX_LENGTH:
        return None
    link = f"{scheme.lower()}://{rest.replace(' ', '%20')}"
    try:
        parts = urlsplit(link)
        usable = bool(parts.hostname) and "@" not in parts.netloc and (parts.port or 1) > 0
    except ValueError:  # a port or an IPv6 address that is none
        return None
    return link if usable and link.isprintable() and not any(map(str.isspace, link)) else None
