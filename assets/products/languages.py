"""The language of a listing's text, where it is sure.

Belongs here: which languages, how much text is needed, how sure is sure. Not here: the model (py3langid's).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageRules:
    """When a language is sure.

    Attributes:
        languages: ISO 639-1 codes of the languages that feeds are written in; every further one costs certainty.
        min_probability: Smallest probability of the likeliest.
        min_telltales: Distinct words of one language, and none of another, that settle it without the model.
        min_words: Fewest words of text; brands and model codes are not counted.
        max_characters: Characters that are read; more changes the answer seldom and the time always.
    """

    languages: tuple[str, ...] = (
        "ar", "bg", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hu", "it", "ja", "ko", "nl", "no", "pl",
        "pt", "ro", "ru", "sk", "sv", "tr", "uk", "zh",
    )  # fmt: skip
    min_probability: float = 0.8
    min_telltales: int = 2
    min_words: int = 4
    max_characters: int = 120


#: Words in letters alone; those with digits or in capitals say nothing about the language.
_WORD = re.compile(r"(?<![\w-])[^\W\d_]*[^\W\d_A-Z][^\W\d_]+(?![\w-])")
#: Scripts written without spaces between words.
_UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0e7f]")


#: Small words that few other languages write so. Most text has some, and they spare the model, which is slow.
_TELLTALES: Mapping[str, str] = {
    word: language
    for language, words in {
        "de": "und mit für der das von zum zur auf nicht oder durch eine einen",
        "en": "the and with your this from you that are will",
        "es": "para los las el más sus",
        "fr": "avec pour les une dans sur votre vos",
        "it": "per della nella gli più alla che dei",
        "nl": "met het een voor van deze wordt",
    }.items()
    for word in words.split()
}


def detect_language(title: str, description: str = "", rules: LanguageRules | None = None) -> str | None:
    """Return the ISO 639-1 code of the language of a cleaned title and description, or None where it is not sure."""
    limits = rules or LanguageRules()
    text = f"{title} {description[: 2 * limits.max_characters]}"
    words = _WORD.findall(text)
    if len(words) < limits.min_words and len(_UNSPACED.findall(text)) < limits.min_words:
        return None
    telltales = {word for word in map(str.lower, words) if word in _TELLTALES}
    settled = {_TELLTALES[word] for word in telltales}
    if len(telltales) >= limits.min_telltales and len(settled) == 1 and settled <= set(limits.languages):
        return settled.pop()
    sample = " ".join(words)[: limits.max_characters]
    language, probability = _identifier(limits.languages).classify(sample)
    return str(language) if probability >= limits.min_probability else None


@lru_cache(maxsize=4)
def _identifier(languages: tuple[str, ...]) -> "LanguageIdentifier":
    """The model takes 0.4 s to read: once, and only where a language is asked for."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(languages)
    return identifier
