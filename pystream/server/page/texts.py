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
    "late": "The player is not there yet: some part of this page has not arrived.",
    "late_link": "Load the page again",
    "resumed": "Goes on at {now}",
    "limit": "No skipping ahead in this film: up to {now} so far",
    "limited": "Not beyond {now} yet",
    "later": "{now}, not yet",
    "presence": "Are you there?",
    "presence_text": "Please confirm that you are watching. The film goes on meanwhile.",
    "presence_left": "{seconds} s left",
    "presence_here": "I am here",
    "own_of": "Counts so far: {minutes} of {needed} minutes",
    "own_reached": "Counts so far: {minutes} minutes, more than the {needed} that are needed",
    "own_day": "Counts today so far: {minutes} min",
    "own_paused": "Not counting since {time}: the film is paused.",
    "own_ended": "Not counting since {time}: the film is over.",
    "own_hidden": "Not counting since {time}: this page was hidden.",
    "own_silent": "Not counting since {time}: nothing of the film was delivered to this device.",
    "own_outage": "Not counting since {time}: the server was down.",
    "own_outside": "Not counting now: there is no programme until {time}.",
    "own_over": "Not counting any more: the programme is over.",
    "own_soon": "Nothing counts yet; it takes some seconds.",
    "own_several": "This password was in use on several devices at a time: that counts once.",
    "own_was": "Did not count from {from} to {to}: {why}.",
    "own_was_paused": "the film was paused",
    "own_was_ended": "the film was over",
    "own_was_hidden": "this page was hidden",
    "own_was_outage": "the server was down",
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
    "entry_on": "Continue",
    "entry_notice": "This notice has changed. Please read it, and go on.",
    "entry_password": "This password does not open this film. Please compare it with your card.",
    "entry_mistyped": "There is a slip in this password. Please compare it with your card.",
    "entry_devices": "This password is in use on another device. Close the film there and try again; if it"
    " is closed already, please wait {seconds} s.",
    "entry_tries": "Too many wrong tries came from your network. Please try again in {seconds} s.",
    "entry_full": "Every place is taken just now. Please try again in {seconds} s.",
    "entry_later": "Nobody can be let in just now. Please try again in {seconds} s.",
    "entry_now": "Please try again now.",
    "entry_offline": "The server cannot be reached. Please try again.",
    "entry_kicked": "The film goes on on another device with this password.",
    "entry_revoked": "This password is not valid any more.",
    "entry_over": "Your visit has ended. To watch on, please type the password again.",
    "trouble_offline": "The server cannot be reached. It is tried again in {seconds} s.",
    "trouble_busy": "The film cannot be shown just now. It is tried again in {seconds} s.",
    "trouble_full": "All places are taken just now. It is tried again in {seconds} s.",
    "trouble_gone": "This film is not here, or no longer.",
    "trouble_denied": "This film cannot be watched with this link, or no longer.",
    "trouble_early": "This film cannot be watched yet.",
    "trouble_early_at": "This film opens on {when}.",
    "trouble_late": "This film cannot be watched any more.",
    "trouble_site": "This film is shown on the site that offers it only. Please open it there.",
    "trouble_network": "This film cannot be watched from your network. Please ask who offers it.",
    "trouble_country": "This film cannot be watched from the country that you seem to be in. A VPN may be"
    " why.",
    "trouble_devices": "The film is playing on another device with this link. Close it there and try again;"
    " if it is closed already, please wait a little first.",
    "trouble_kicked": "The film goes on on another device with this link.",
    "trouble_revoked": "You are not let in to this film any more. Please ask who offers it.",
    "trouble_link": "This link does not open this film. Please open the film again from the site that offers"
    " it.",
    "trouble_link_over": "This link is too old. Please open the film again from the site that offers it.",
    "trouble_link_early": "This link does not open the film yet. Please try it later.",
    "trouble_link_used": "This link was good for once. Please open the film again from the site that offers"
    " it.",
    "trouble_link_missing": "This film opens from the site that offers it. Please go there.",
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
    "late": "Der Player ist noch nicht da: Ein Teil dieser Seite ist nicht angekommen.",
    "late_link": "Seite neu laden",
    "resumed": "Weiter bei {now}",
    "limit": "Kein Vorspulen in diesem Film: bis jetzt bis {now}",
    "limited": "Noch nicht weiter als {now}",
    "later": "{now}, noch nicht",
    "presence": "Sind Sie da?",
    "presence_text": "Bitte bestätigen Sie, dass Sie zusehen. Der Film läuft so lange weiter.",
    "presence_left": "Noch {seconds} s",
    "presence_here": "Ich bin da",
    "own_of": "Bis jetzt zählen {minutes} von {needed} Minuten",
    "own_reached": "Bis jetzt zählen {minutes} Minuten, mehr als die {needed}, die nötig sind",
    "own_day": "Heute zählen bis jetzt {minutes} min",
    "own_paused": "Seit {time} zählt nichts: Der Film ist angehalten.",
    "own_ended": "Seit {time} zählt nichts: Der Film ist zu Ende.",
    "own_hidden": "Seit {time} zählt nichts: Diese Seite war verdeckt.",
    "own_silent": "Seit {time} zählt nichts: Auf diesem Gerät kam nichts vom Film an.",
    "own_outage": "Seit {time} zählt nichts: Der Server war ausgefallen.",
    "own_outside": "Gerade zählt nichts: Bis {time} läuft kein Programm.",
    "own_over": "Jetzt zählt nichts mehr: Das Programm ist zu Ende.",
    "own_soon": "Noch zählt nichts; das dauert ein paar Sekunden.",
    "own_several": "Dieses Passwort war auf mehreren Geräten zugleich in Gebrauch: Das zählt einmal.",
    "own_was": "Von {from} bis {to} zählte nichts: {why}.",
    "own_was_paused": "der Film war angehalten",
    "own_was_ended": "der Film war zu Ende",
    "own_was_hidden": "diese Seite war verdeckt",
    "own_was_outage": "der Server war ausgefallen",
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
    "entry_on": "Weiter",
    "entry_notice": "Dieser Hinweis hat sich geändert. Bitte lesen Sie ihn, und machen Sie dann weiter.",
    "entry_password": "Dieses Passwort öffnet diesen Film nicht. Bitte vergleichen Sie es mit Ihrer Karte.",
    "entry_mistyped": "In diesem Passwort ist ein Tippfehler. Bitte vergleichen Sie es mit Ihrer Karte.",
    "entry_devices": "Dieses Passwort ist auf einem anderen Gerät in Gebrauch. Schließen Sie dort den Film"
    " und versuchen Sie es noch einmal; ist er schon geschlossen, warten Sie bitte {seconds} s.",
    "entry_tries": "Aus Ihrem Netz kamen zu viele falsche Versuche. Bitte versuchen Sie es in {seconds} s"
    " wieder.",
    "entry_full": "Gerade sind alle Plätze besetzt. Bitte versuchen Sie es in {seconds} s wieder.",
    "entry_later": "Gerade kann niemand eingelassen werden. Bitte versuchen Sie es in {seconds} s wieder.",
    "entry_now": "Bitte versuchen Sie es jetzt noch einmal.",
    "entry_offline": "Der Server ist nicht zu erreichen. Bitte versuchen Sie es noch einmal.",
    "entry_kicked": "Der Film läuft mit diesem Passwort auf einem anderen Gerät weiter.",
    "entry_revoked": "Dieses Passwort gilt nicht mehr.",
    "entry_over": "Ihr Besuch ist zu Ende. Um weiterzusehen, geben Sie das Passwort bitte noch einmal ein.",
    "trouble_offline": "Der Server ist nicht erreichbar. Neuer Versuch in {seconds} s.",
    "trouble_busy": "Der Film kann gerade nicht gezeigt werden. Neuer Versuch in {seconds} s.",
    "trouble_full": "Gerade sind alle Plätze besetzt. Neuer Versuch in {seconds} s.",
    "trouble_gone": "Diesen Film gibt es hier nicht, oder nicht mehr.",
    "trouble_denied": "Mit diesem Link kann der Film nicht angesehen werden, oder nicht mehr.",
    "trouble_early": "Dieser Film kann noch nicht angesehen werden.",
    "trouble_early_at": "Dieser Film öffnet am {when}.",
    "trouble_late": "Dieser Film kann nicht mehr angesehen werden.",
    "trouble_site": "Diesen Film gibt es nur auf der Website, die ihn anbietet. Bitte öffnen Sie ihn dort.",
    "trouble_network": "Aus Ihrem Netz kann dieser Film nicht angesehen werden. Bitte fragen Sie, wer ihn"
    " anbietet.",
    "trouble_country": "Aus dem Land, in dem Sie zu sein scheinen, kann dieser Film nicht angesehen werden."
    " Vielleicht liegt es an einem VPN.",
    "trouble_devices": "Der Film läuft mit diesem Link auf einem anderen Gerät. Schließen Sie ihn dort und"
    " versuchen Sie es noch einmal; ist er schon geschlossen, warten Sie bitte vorher einen Moment.",
    "trouble_revoked": "Sie werden zu diesem Film nicht mehr eingelassen. Bitte fragen Sie, wer ihn"
    " anbietet.",
    "trouble_kicked": "Der Film läuft mit diesem Link auf einem anderen Gerät weiter.",
    "trouble_link": "Dieser Link öffnet diesen Film nicht. Bitte öffnen Sie den Film noch einmal auf der"
    " Website, die ihn anbietet.",
    "trouble_link_over": "Dieser Link ist zu alt. Bitte öffnen Sie den Film noch einmal auf der Website, die"
    " ihn anbietet.",
    "trouble_link_early": "Dieser Link öffnet den Film noch nicht. Bitte versuchen Sie es später.",
    "trouble_link_used": "Dieser Link galt nur einmal. Bitte öffnen Sie den Film noch einmal auf der Website,"
    " die ihn anbietet.",
    "trouble_link_missing": "Diesen Film öffnet die Website, die ihn anbietet. Bitte gehen Sie dorthin.",
    "trouble_media": "Der Film ist an dieser Stelle beschädigt, oder Ihr Browser kann ihn nicht"
    " dekodieren.",
    "trouble_unsupported": "Ihr Browser kann diesen Film nicht abspielen. Aktuelle Versionen von"
    " Chrome, Edge, Firefox und Safari können es.",
    "trouble_unknown": "Beim Abspielen ist etwas schiefgegangen.",
}

TEXTS: Final = {"en": ENGLISH, "de": GERMAN}

_CLOSED: Final = ("early", "late", "site", "network", "country", "devices", "revoked")
_OF_LINKS: Final = ("link", "link_over", "link_early", "link_used", "link_missing")


def _of_kinds(texts: Mapping[str, str], closed: str, link: str) -> Mapping[str, tuple[str, str]]:
    """What the page says of a kind, below a heading."""
    headings = dict.fromkeys(_CLOSED, closed) | dict.fromkeys(_OF_LINKS, link)
    return {kind: (heading, texts[f"trouble_{kind}"]) for kind, heading in headings.items()}


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
        **_of_kinds(ENGLISH, "This film cannot be shown here", "This link does not open the film"),
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
        **_of_kinds(
            GERMAN,
            "Dieser Film kann hier nicht gezeigt werden",
            "Dieser Link öffnet den Film nicht",
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
