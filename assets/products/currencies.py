"""Currencies: their codes, the signs shops write for them, and the notation of their home.

Belongs here: ISO 4217, symbols, minor units, decimal marks (all but the shops' signs from babel). Not here: how an
amount is read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from babel import Locale, UnknownLocaleError
from babel.core import get_global
from babel.languages import get_official_languages
from babel.numbers import get_currency_precision


@dataclass(frozen=True, slots=True)
class Mention:
    """A currency named in a text.

    Attributes:
        codes: ISO 4217 codes it may stand for, the likeliest first.
        default: The code to assume where nothing else decides; None where none is likelier.
    """

    codes: tuple[str, ...]
    default: str | None


#: Where the sign of a currency is not its code. The first code is assumed where the sign is shared;
#: a leading `?` says that none may be.
_SIGNS: Mapping[str, str] = {
    "$": "USD CAD AUD NZD MXN HKD SGD TWD CLP COP ARS BRL UYU DOP JMD BBD BZD BND TTD XCD BSD BMD KYD GYD FJD SRD "
         "LRD NAD SBD CUP",
    "US$": "USD", "U$S": "USD", "$US": "USD", "$CA": "CAD", "$AU": "AUD", "$NZ": "NZD", "$HK": "HKD",
    "CA$": "CAD", "C$": "CAD NIO", "AU$": "AUD", "A$": "AUD", "NZ$": "NZD",
    "HK$": "HKD", "SG$": "SGD", "S$": "SGD", "NT$": "TWD", "MX$": "MXN", "MEX$": "MXN", "R$": "BRL", "AR$": "ARS",
    "CL$": "CLP", "CO$": "COP", "COL$": "COP", "RD$": "DOP", "TT$": "TTD", "J$": "JMD", "BDS$": "BBD",
    "BZ$": "BZD", "B$": "BND BSD", "N$": "NAD", "FJ$": "FJD", "EC$": "XCD", "$U": "UYU",
    "€": "EUR", "EURO": "EUR", "EUROS": "EUR", "ЕВРО": "EUR",
    "£": "GBP EGP GIP FKP SHP SSP SDG LBP SYP", "E£": "EGP", "￡": "GBP",
    "¥": "JPY CNY", "￥": "JPY CNY", "JP¥": "JPY", "CN¥": "CNY", "円": "JPY", "元": "CNY TWD", "RMB": "CNY",
    "₹": "INR", "RS": "INR PKR LKR NPR MUR SCR", "₨": "INR PKR LKR NPR MUR SCR",
    "KR": "?SEK NOK DKK ISK", "ДИН": "RSD MKD", "DIN": "RSD",
    "FR": "CHF XOF XAF XPF", "SFR": "CHF", "FRS": "CHF", "FCFA": "XOF XAF", "CFA": "XOF XAF",
    "ZŁ": "PLN", "ZL": "PLN", "KČ": "CZK", "KC": "CZK", "FT": "HUF", "LEI": "RON MDL", "ЛВ": "BGN",
    "₽": "RUB", "РУБ": "RUB", "Р": "RUB", "₴": "UAH", "ГРН": "UAH", "₺": "TRY", "TL": "TRY", "₾": "GEL",
    "₼": "AZN", "₸": "KZT", "֏": "AMD", "₩": "KRW KPW", "￦": "KRW", "₪": "ILS", "฿": "THB", "₫": "VND", "Đ": "VND",
    "₱": "PHP", "RP": "IDR", "RM": "MYR", "₭": "LAK", "៛": "KHR", "৳": "BDT", "₮": "MNT", "₦": "NGN", "GH₵": "GHS",
    "₵": "GHS", "KSH": "KES", "R": "ZAR", "S/": "PEN", "₡": "CRC", "₲": "PYG",
    "BS": "BOB VES", "BS$": "BSD", "$WS": "WST", "WS$": "WST", "﷼": "?IRR SAR QAR YER OMR",
    "DHS": "AED MAD", "SR": "SAR", "QR": "QAR", "KD": "KWD", "BD": "BHD",
    "ر.س": "SAR", "د.إ": "AED", "ج.م": "EGP", "د.ك": "KWD", "ر.ق": "QAR", "د.م": "MAD",
}  # fmt: skip

#: Codes that are written in lower case in prices too, and are no words.
_CODES_IN_ANY_CASE = frozenset({"EUR", "USD", "GBP", "CHF", "SEK", "NOK", "DKK", "PLN", "CZK", "HUF", "JPY", "INR"})
#: The European Union's currency, and those shared by several states, have no country in their code's first letters.
_HOMES = {"EUR": "DE", "XAF": "CM", "XOF": "SN", "XPF": "PF", "XCD": "AG", "XCG": "CW", "ANG": "CW"}

_MENTIONS = {
    sign: Mention(codes := tuple(written.lstrip("?").split()), None if written[0] == "?" else codes[0])
    for sign, written in _SIGNS.items()
}


def _sign_pattern(sign: str) -> str:
    """A sign; where it begins or ends in a letter, no further letter may follow there (`$U` is not `$US`)."""
    before = r"(?<![^\W\d_])" if sign[0].isalpha() else ""
    after = r"(?![^\W\d_])" if sign[-1].isalpha() else ""
    return before + re.escape(sign) + after


_SIGN = re.compile(
    "|".join(_sign_pattern(sign) for sign in sorted(_MENTIONS, key=lambda sign: (-len(sign), sign))),
    re.IGNORECASE,
)
_CODE = re.compile(r"(?<![A-Za-z])[A-Za-z]{3}(?![A-Za-z])")


@lru_cache(maxsize=1)
def active_currencies() -> frozenset[str]:
    """The ISO 4217 codes that are legal tender somewhere today."""
    return frozenset(
        code
        for uses in get_global("territory_currencies").values()
        for code, _start, end, tender in uses
        if tender and end is None
    )


def currency_code(text: str) -> str | None:
    """Return the ISO 4217 code that `text` (a currency field: `usd`, `€`, `US$`) means, or None."""
    code = text.strip().upper()
    if code in active_currencies():
        return code
    mention = find_currency(text)
    return mention.default if mention else None


def find_currency(text: str) -> Mention | None:
    """Return the currency that `text` names first by its code, else by its sign; None where it names none."""
    for found in _CODE.finditer(text):
        code = found.group()
        if (code.isupper() or code.upper() in _CODES_IN_ANY_CASE) and code.upper() in active_currencies():
            return Mention((code.upper(),), code.upper())
    sign = _SIGN.search(text)
    return _MENTIONS[sign.group().upper()] if sign else None


def minor_digits(currency: str | None) -> int:
    """Decimal digits of a currency (2 for EUR, 0 for JPY, 3 for KWD); 2 where it is unknown."""
    return int(get_currency_precision(currency)) if currency else 2


@lru_cache(maxsize=256)
def decimal_mark(currency: str) -> str:
    """Return `.` or `,`: what separates the minor unit in the first official language of the currency's home."""
    territory = _HOMES.get(currency, currency[:2])
    for language in get_official_languages(territory, de_facto=True):
        try:
            locale = Locale.parse(f"{language}_{territory}")
        except UnknownLocaleError:  # a language babel knows no notation of
            continue
        return "," if locale.number_symbols["latn"]["decimal"] == "," else "."
    return "."
