"""Prices as shops write them, and back from every locale's own formatting."""

from decimal import Decimal

import pytest
from babel.numbers import format_currency
from hypothesis import given
from hypothesis import strategies as st

from assets.products.currencies import active_currencies, decimal_mark, minor_digits
from assets.products.prices import PriceRules, parse_price

#: text, currency of the row, amount, currency, issues
TABLE = [
    ("12.99", "USD", "12.99", "USD", ""),
    ("379.", "USD", "379", "USD", ""),
    ("1299", "EUR", "1299", "EUR", ""),
    ("15.00 USD", None, "15", "USD", ""),
    ("15.00USD", None, "15", "USD", ""),
    ("USD15.00", None, "15", "USD", ""),
    ("usd 15.00", None, "15", "USD", ""),
    ("1.234,56 €", None, "1234.56", "EUR", ""),
    ("1.234,56\u00a0€", "EUR", "1234.56", "EUR", ""),
    ("€1.234,56", None, "1234.56", "EUR", ""),
    ("EUR 1.234,56", None, "1234.56", "EUR", ""),
    ("€ 12,50", None, "12.50", "EUR", ""),
    ("12,5", "EUR", "12.5", "EUR", ""),
    ("12€99", None, "12.99", "EUR", ""),
    ("12 €99", None, "12.99", "EUR", ""),
    ("&euro;12.99", None, "12.99", "EUR", ""),
    ("&pound;12.99", None, "12.99", "GBP", "currency_guessed"),
    ("US$ 1,234.56", None, "1234.56", "USD", ""),
    ("US $1,234.56", "USD", "1234.56", "USD", ""),
    ("$1,234", "USD", "1234", "USD", ""),
    ("$1,234,567.89", "USD", "1234567.89", "USD", ""),
    ("$.75", "USD", "0.75", "USD", ""),
    ("$12.99", None, "12.99", "USD", "currency_guessed"),
    ("$12.99", "CAD", "12.99", "CAD", ""),
    ("C$12.99", None, "12.99", "CAD", "currency_guessed"),
    ("A$12.99", "AUD", "12.99", "AUD", ""),
    ("$19.990", "CLP", "19990", "CLP", ""),
    ("R$ 1.234,56", None, "1234.56", "BRL", ""),
    ("1'299.-", "CHF", "1299", "CHF", ""),
    ("CHF 1’299.–", None, "1299", "CHF", ""),
    ("Fr. 49.90", "CHF", "49.90", "CHF", ""),
    ("49,-", "EUR", "49", "EUR", ""),
    ("49,-- €", None, "49", "EUR", ""),
    ("1 234,56 kr", "SEK", "1234.56", "SEK", ""),
    ("1\u202f234,56 kr", "NOK", "1234.56", "NOK", ""),
    ("1.234,56 kr.", "DKK", "1234.56", "DKK", ""),
    ("199 kr", None, "199", None, "currency_missing"),
    ("199:-", "SEK", "199", "SEK", ""),
    ("₹1,23,456.00", None, "123456", "INR", ""),
    ("Rs. 12,34,567", "INR", "1234567", "INR", ""),
    ("Rs.499", None, "499", "INR", "currency_guessed"),
    ("£12", "GBP", "12", "GBP", ""),
    ("£1,234.50", "GBP", "1234.50", "GBP", ""),
    ("99p", "GBP", "0.99", "GBP", ""),
    ("99¢", "USD", "0.99", "USD", ""),
    ("¥1,234", "JPY", "1234", "JPY", ""),
    ("¥1.234", "JPY", "1234", "JPY", ""),
    ("12,800円", None, "12800", "JPY", ""),
    ("￥128.00", "CNY", "128", "CNY", ""),
    ("1 234,56 zł", None, "1234.56", "PLN", ""),
    ("12 990 Kč", None, "12990", "CZK", ""),
    ("129 990 Ft", None, "129990", "HUF", ""),
    ("1.299,00 TL", None, "1299", "TRY", ""),
    ("1 299 ₽", None, "1299", "RUB", ""),
    ("1299 руб.", None, "1299", "RUB", ""),
    ("Rp 1.234.567", None, "1234567", "IDR", ""),
    ("1.234.567 ₫", None, "1234567", "VND", ""),
    ("RM 1,299.00", None, "1299", "MYR", ""),
    ("R 1 299.00", "ZAR", "1299", "ZAR", ""),
    ("1.234 KWD", None, "1.234", "KWD", ""),
    ("1,234 KWD", None, "1234", "KWD", "price_ambiguous"),
    ("12,345 TND", None, "12.345", "TND", ""),
    ("١٬٢٣٤٫٥٦ ر.س.", None, "1234.56", "SAR", ""),
    # one separator, three digits
    ("1.234", "EUR", "1234", "EUR", "price_ambiguous"),
    ("1,234", "EUR", "1234", "EUR", "price_ambiguous"),
    ("1,234", "USD", "1234", "USD", ""),
    ("12.605", "USD", "12.605", "USD", "price_ambiguous"),
    ("1,234", None, "1234", None, "currency_missing price_ambiguous"),
    ("0.499", "EUR", "0.499", "EUR", ""),
    ("1234.567", "EUR", "1234.567", "EUR", ""),
    ("19.9900", "EUR", "19.99", "EUR", ""),
    ("12.34567", "EUR", "12.3457", "EUR", ""),
    # words around it
    ("from 9.99", "USD", "9.99", "USD", "price_from"),
    ("ab 9,99 €", None, "9.99", "EUR", "price_from"),
    ("à partir de 1 299,00 €", None, "1299", "EUR", "price_from"),
    ("Price: $12.99", "USD", "12.99", "USD", ""),
    ("12,99 € inkl. 19% MwSt.", None, "12.99", "EUR", ""),
    ("12,99 € (1,30 € / 100 g)", None, "12.99", "EUR", "price_several"),
    ("12.99 / 100 ml", "EUR", "12.99", "EUR", ""),
    ("12.99 + 3.50 shipping", "USD", "12.99", "USD", ""),
    ("was $19.99 now $14.99", "USD", "14.99", "USD", ""),
    ("$14.99 (was $19.99)", "USD", "14.99", "USD", ""),
    ("19,99 € jetzt 14,99 €", None, "14.99", "EUR", "price_several"),
    ("UVP 19,99 € 14,99 €", None, "14.99", "EUR", ""),
    ("-25% 14.99", "USD", "14.99", "USD", ""),
    ("2 for 10.00", "USD", "10", "USD", ""),
    ("10 - 20 €", None, "10", "EUR", "price_range"),
    ("$10.00–$20.00", "USD", "10", "USD", "price_range"),
    ("10,00 € bis 20,00 €", None, "10", "EUR", "price_range"),
    ("<b>12.99</b>", "USD", "12.99", "USD", ""),
    # disagreement
    ("12,99 €", "USD", "12.99", "EUR", "currency_conflict"),
    ("12.99", "US Dollars", "12.99", None, "currency_unknown"),
    ("12.99", "XXX", "12.99", None, "currency_unknown"),
    ("12.99", "DEM", "12.99", None, "currency_unknown"),
    ("12.99", "€", "12.99", "EUR", ""),
    ("12.99", "usd", "12.99", "USD", ""),
    ("12.99", None, "12.99", None, "currency_missing"),
    # none
    (None, "USD", None, None, ""),
    ("", "USD", None, None, ""),
    ("  ", "USD", None, None, ""),
    ("N/A", "USD", None, None, ""),
    ("-", "USD", None, None, ""),
    ("0", "USD", None, None, "price_zero"),
    ("0.0", "USD", None, None, "price_zero"),
    ("0,00 €", None, None, None, "price_zero"),
    ("Free", "USD", None, None, "price_zero"),
    ("-12.99", "USD", None, None, "price_negative"),
    ("$-12.99", "USD", None, None, "price_negative"),
    ("-$12.99", "USD", None, None, "price_negative"),
    ("−12,99 €", None, None, None, "price_negative"),
    ("(12.99)", "USD", None, None, "price_negative"),
    ("12.99-", "USD", None, None, "price_negative"),
    ("call for price", "USD", None, None, "price_on_request"),
    ("Preis auf Anfrage", "EUR", None, None, "price_on_request"),
    ("POA", "GBP", None, None, "price_on_request"),
    ("abc", "USD", None, None, "price_unreadable"),
    ("1.2.3", "USD", None, None, "price_unreadable"),
    ("1,23,4", "USD", None, None, "price_unreadable"),
    ("12.345,678,90", "EUR", None, None, "price_unreadable"),
    ("1.2999E+03", "USD", None, None, "price_unreadable"),
    ("2024-01-01", "USD", None, None, "price_unreadable"),
    ("24 x 12.99", "USD", None, None, "price_instalments"),
    ("9,99 € / Monat", None, None, None, "price_instalments"),
    ("9" * 30, "USD", None, None, "price_too_large"),
    ("9" * 5000, "USD", None, None, "price_unreadable"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "hint", "amount", "currency", "issues"), TABLE)
def test_table(text: str | None, hint: str | None, amount: str | None, currency: str | None, issues: str) -> None:
    price = parse_price(text, hint)
    assert price.amount == (None if amount is None else Decimal(amount))
    assert price.currency == currency
    assert price.issues == tuple(issues.split())


LOCALES = [
    "en_US", "en_GB", "en_CA", "en_IN", "en_ZA", "de_DE", "de_AT", "de_CH", "fr_FR", "fr_CA", "fr_CH", "it_IT",
    "it_CH", "es_ES", "es_MX", "es_CL", "pt_BR", "pt_PT", "nl_NL", "nl_BE", "sv_SE", "nb_NO", "da_DK", "fi_FI",
    "pl_PL", "cs_CZ", "sk_SK", "hu_HU", "ro_RO", "bg_BG", "el_GR", "tr_TR", "ru_RU", "uk_UA", "ja_JP", "ko_KR",
    "zh_CN", "zh_TW", "hi_IN", "th_TH", "vi_VN", "id_ID", "ar_EG", "ar_SA", "fa_IR", "he_IL", "lv_LV", "et_EE",
]  # fmt: skip


@given(
    minor=st.integers(min_value=1, max_value=10**11),
    currency=st.sampled_from(sorted(active_currencies())),
    locale=st.sampled_from(LOCALES),
)
def test_what_babel_formats_is_read_back(minor: int, currency: str, locale: str) -> None:
    amount = Decimal(minor).scaleb(-minor_digits(currency))
    written = format_currency(amount, currency, locale=locale)
    price = parse_price(written, currency)
    if minor_digits(currency) == 3 and "price_ambiguous" in price.issues:
        return  # "OMR 1,000" in a foreign notation may be a thousand or one: it has to say so
    assert (price.amount, price.currency) == (amount, currency), written


@given(st.text(max_size=60), st.none() | st.text(max_size=8))
def test_any_text_gives_a_price_or_a_reason(text: str, currency: str | None) -> None:
    price = parse_price(text, currency)
    if price.amount is None:
        assert price.currency is None
    else:
        assert 0 < price.amount <= PriceRules().maximum
        assert price.currency is None or price.currency in active_currencies()


@given(st.from_regex(r"[-(]?[$€£]? ?[0-9.,' ]{1,14} ?(€|kr|USD|p|%|-|/)?[)]?", fullmatch=True))
def test_any_number_like_text_is_read_without_a_crash(text: str) -> None:
    price = parse_price(text, "EUR")
    assert price.amount is None or price.amount > 0


@pytest.mark.parametrize(
    ("currency", "mark", "digits"),
    [
        ("USD", ".", 2),
        ("EUR", ",", 2),
        ("GBP", ".", 2),
        ("CHF", ".", 2),
        ("JPY", ".", 0),
        ("BRL", ",", 2),
        ("KWD", ".", 3),
    ],
)
def test_notation_of_a_currencys_home(currency: str, mark: str, digits: int) -> None:
    assert (decimal_mark(currency), minor_digits(currency)) == (mark, digits)


def test_all_active_currencies_have_a_notation() -> None:
    assert {decimal_mark(currency) for currency in active_currencies()} == {".", ","}
    assert {"EUR", "USD", "GBP"} <= active_currencies()
    assert "DEM" not in active_currencies()
