"""Which language a text is in, as far as it matters to rules that expect English."""

from __future__ import annotations

from collections.abc import Sequence

LEAST_CHARACTERS = 40
NAMES = {
    **{"ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech"},
    **{"da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish"},
    **{"et": "Estonian", "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew"},
    **{"hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian", "it": "Italian"},
    **{"ja": "Japanese", "ko": "Korean", "la": "Latin", "lt": "Lithuanian", "lv": "Latvian"},
    **{"nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian"},
    **{"ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish"},
    **{"ta": "Tamil", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu"},
    **{"vi": "Vietnamese", "zh": "Chinese"},
}
"""The names of common languages by their codes in ISO 639-1; others are called by their code."""


def language_of(samples: Sequence[str]) -> str | None:
    """The language of texts; None where there is too little of them to say.

    Identified by py3langid, an offline model of 97 languages (Lui and Baldwin 2012, "langid.py").
    """
    text = "\n".join(samples)
    if sum(map(str.isalpha, text)) < LEAST_CHARACTERS:
        return None
    import py3langid  # loads its model, which takes a while and is seldom needed

    code, _ = py3langid.classify(text)
    return NAMES.get(code, f"the language {code}")
