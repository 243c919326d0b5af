"""What the page says, in each language that it speaks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

ENGLISH: Final[Mapping[str, str]] = {
    "player": "Video player",
    "play": "Play",
    "pause": "Pause",
    "replay": "Play again",
    "mute": "Mute",
    "unmute": "Sound on",
    "volume": "Volume",
    "seek": "Position",
    "position": "{now} of {length}",
    "settings": "Settings",
    "quality": "Quality",
    "automatic": "Automatic",
    "speed": "Speed",
    "sound": "Sound",
    "track": "Track {number}",
    "remember": "Remember where I stopped",
    "remember_hint": "Kept in this browser alone.",
    "pip": "Picture in picture",
    "download": "Download as MP4",
    "fullscreen": "Full screen",
    "window": "Leave full screen",
    "keys": "Keyboard shortcuts",
    "close": "Close",
    "again": "Try again",
    "loading": "Loading …",
    "resumed": "Goes on at {now}",
    "no_subtitles": "This film has no subtitles",
    "subtitles_on": "Subtitles on",
    "subtitles_off": "Subtitles off",
    "key_space": "Space",
    "key_play": "play or pause",
    "key_skip": "10 seconds back or on",
    "key_step": "5 seconds back or on",
    "key_volume": "louder or quieter",
    "key_mute": "sound on or off",
    "key_fullscreen": "full screen",
    "key_captions": "subtitles",
    "key_tenth": "to 0 % … 90 % of the film",
    "key_speed": "slower or faster",
    "key_help": "this list",
    "no_script": "JavaScript is switched off. Some browsers play the film here all the same; VLC, mpv and"
    " others play it from its address:",
    "no_script_link": "HLS address of the film",
    "entry_label": "Password",
    "entry_go": "Watch",
    "entry_hint": "Capital letters, hyphens and blanks do not matter.",
    "entry_password": "This password does not open this film. Please compare it with your card.",
    "entry_mistyped": "There is a slip in this password. Please compare it with your card.",
    "entry_devices": "This password is in use on another device. Close the film there; then try again in"
    " {seconds} s.",
    "entry_tries": "Too many wrong passwords came from your network. Please try again in {seconds} s.",
    "entry_full": "Every place is taken just now. Please try again in {seconds} s.",
    "entry_later": "Nobody can be let in just now. Please try again in {seconds} s.",
    "entry_offline": "The server cannot be reached. Please try again.",
    "entry_kicked": "The film goes on on another device with this password.",
    "entry_revoked": "This password is not valid any more.",
    "trouble_offline": "The server cannot be reached. It is tried again in {seconds} s.",
    "trouble_busy": "The film cannot be shown just now. It is tried again in {seconds} s.",
    "trouble_full": "All places are taken just now. It is tried again in {seconds} s.",
    "trouble_gone": "This film is not here, or no longer.",
    "trouble_denied": "This film cannot be watched with this link, or no longer.",
    "trouble_media": "The film is damaged here, or your browser cannot decode it.",
    "trouble_unsupported": "Your browser cannot play this film. Current versions of Chrome, Edge,"
    " Firefox and Safari can.",
    "trouble_unknown": "Something went wrong while playing.",
}

GERMAN: Final[Mapping[str, str]] = {
    "player": "Videoplayer",
    "play": "Abspielen",
    "pause": "Pause",
    "replay": "Noch einmal",
    "mute": "Ton aus",
    "unmute": "Ton an",
    "volume": "Lautstärke",
    "seek": "Position",
    "position": "{now} von {length}",
    "settings": "Einstellungen",
    "quality": "Qualität",
    "automatic": "Automatisch",
    "speed": "Tempo",
    "sound": "Ton",
    "track": "Spur {number}",
    "remember": "Merken, wo ich aufgehört habe",
    "remember_hint": "Bleibt nur in diesem Browser.",
    "pip": "Bild im Bild",
    "download": "Als MP4 herunterladen",
    "fullscreen": "Vollbild",
    "window": "Vollbild beenden",
    "keys": "Tastenkürzel",
    "close": "Schließen",
    "again": "Noch einmal versuchen",
    "loading": "Lädt …",
    "resumed": "Weiter bei {now}",
    "no_subtitles": "Dieser Film hat keine Untertitel",
    "subtitles_on": "Untertitel an",
    "subtitles_off": "Untertitel aus",
    "key_space": "Leertaste",
    "key_play": "abspielen oder anhalten",
    "key_skip": "10 Sekunden zurück oder vor",
    "key_step": "5 Sekunden zurück oder vor",
    "key_volume": "lauter oder leiser",
    "key_mute": "Ton an oder aus",
    "key_fullscreen": "Vollbild",
    "key_captions": "Untertitel",
    "key_tenth": "zu 0 % … 90 % des Films",
    "key_speed": "langsamer oder schneller",
    "key_help": "diese Liste",
    "no_script": "JavaScript ist ausgeschaltet. Manche Browser spielen den Film hier trotzdem ab; VLC, mpv"
    " und andere spielen ihn von seiner Adresse:",
    "no_script_link": "HLS-Adresse des Films",
    "entry_label": "Passwort",
    "entry_go": "Ansehen",
    "entry_hint": "Großbuchstaben, Bindestriche und Leerzeichen sind egal.",
    "entry_password": "Dieses Passwort öffnet diesen Film nicht. Bitte vergleichen Sie es mit Ihrer Karte.",
    "entry_mistyped": "In diesem Passwort ist ein Tippfehler. Bitte vergleichen Sie es mit Ihrer Karte.",
    "entry_devices": "Dieses Passwort ist auf einem anderen Gerät in Gebrauch. Schließen Sie dort den Film;"
    " dann geht es in {seconds} s.",
    "entry_tries": "Aus Ihrem Netz kamen zu viele falsche Passwörter. Bitte versuchen Sie es in {seconds} s"
    " wieder.",
    "entry_full": "Gerade sind alle Plätze besetzt. Bitte versuchen Sie es in {seconds} s wieder.",
    "entry_later": "Gerade kann niemand eingelassen werden. Bitte versuchen Sie es in {seconds} s wieder.",
    "entry_offline": "Der Server ist nicht zu erreichen. Bitte versuchen Sie es noch einmal.",
    "entry_kicked": "Der Film läuft mit diesem Passwort auf einem anderen Gerät weiter.",
    "entry_revoked": "Dieses Passwort gilt nicht mehr.",
    "trouble_offline": "Der Server ist nicht erreichbar. Neuer Versuch in {seconds} s.",
    "trouble_busy": "Der Film kann gerade nicht gezeigt werden. Neuer Versuch in {seconds} s.",
    "trouble_full": "Gerade sind alle Plätze besetzt. Neuer Versuch in {seconds} s.",
    "trouble_gone": "Diesen Film gibt es hier nicht, oder nicht mehr.",
    "trouble_denied": "Mit diesem Link kann der Film nicht angesehen werden, oder nicht mehr.",
    "trouble_media": "Der Film ist an dieser Stelle beschädigt, oder Ihr Browser kann ihn nicht"
    " dekodieren.",
    "trouble_unsupported": "Ihr Browser kann diesen Film nicht abspielen. Aktuelle Versionen von"
    " Chrome, Edge, Firefox und Safari können es.",
    "trouble_unknown": "Beim Abspielen ist etwas schiefgegangen.",
}

TEXTS: Final = {"en": ENGLISH, "de": GERMAN}

REFUSALS: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "en": {
        "gone": (
            "There is nothing here",
            "The address may be mistyped, or the film is not here any more.",
        ),
        "denied": (
            "This link does not open the film",
            "It may be too old. The page of the film has a fresh one.",
        ),
        "full": ("All places are taken just now", "Please try again in a few seconds."),
        "busy": ("The film cannot be shown just now", "Please try again in a few seconds."),
        "unknown": ("That did not work", "The address may be wrong, or something at the server."),
    },
    "de": {
        "gone": (
            "Hier ist nichts",
            "Vielleicht ist die Adresse falsch geschrieben, oder den Film gibt es nicht mehr.",
        ),
        "denied": (
            "Dieser Link öffnet den Film nicht",
            "Vielleicht ist er zu alt. Die Seite des Films hat einen neuen.",
        ),
        "full": (
            "Gerade sind alle Plätze besetzt",
            "Bitte versuchen Sie es in ein paar Sekunden noch einmal.",
        ),
        "busy": (
            "Der Film kann gerade nicht gezeigt werden",
            "Bitte versuchen Sie es in ein paar Sekunden noch einmal.",
        ),
        "unknown": (
            "Das hat nicht geklappt",
            "Vielleicht stimmt die Adresse nicht, oder etwas am Server.",
        ),
    },
}
"""What a window shows instead of a film: a heading, and what to do."""

TO_FILM: Final = {"en": "To the film", "de": "Zum Film"}


def language(accepted: str | None) -> str:
    """The language that Accept-Language likes best of those there are (RFC 9110 12.5.4), else `en`."""
    best, weight = "en", 0.0
    for item in (accepted or "").split(","):
        tag, _, parameter = item.partition(";")
        name = tag.strip().lower().partition("-")[0]
        if name in TEXTS and (q := _quality(parameter)) > weight:
            best, weight = name, q
    return best


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
