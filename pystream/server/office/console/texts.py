"""What the console says, in each language that it speaks: English and German side by side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

LANGUAGES: Final = (("en", "English"), ("de", "Deutsch"))

_SAID: Final[Mapping[str, tuple[str, str]]] = {
    # All pages
    "console": ("Console", "Konsole"),
    "skip": ("Go to the content", "Zum Inhalt"),
    "language": ("Language", "Sprache"),
    "save": ("Save", "Speichern"),
    "back": ("Back to the start page", "Zurück zur Startseite"),
    "cancel": ("Cancel", "Abbrechen"),
    "copy_it": ("Copy", "Kopieren"),
    "copied": ("Copied", "Kopiert"),
    "print": ("Print", "Drucken"),
    "saved": ("Saved.", "Gespeichert."),
    "wrong": ("Please correct this", "Bitte korrigieren Sie das"),
    "sum": ("Total", "Summe"),
    "next": ("Next page", "Nächste Seite"),
    "first_page": ("First page", "Erste Seite"),
    "name": ("Name", "Name"),
    "yes": ("yes", "ja"),
    "no": ("no", "nein"),
    "none": ("none", "keine"),
    "optional": ("optional", "freiwillig"),
    # Signing in
    "sign_in": ("Sign in", "Anmelden"),
    "embed_lock_short": ("Only on these sites", "Nur auf diesen Websites"),
    "pace": ("Pace", "Tempo"),
    "sign_out": ("Sign out", "Abmelden"),
    "tenant": ("Organisation", "Organisation"),
    "password": ("Password", "Passwort"),
    "code": ("Code", "Code"),
    "code_hint": (
        "From your authenticator app or your recovery codes, if you have set them up.",
        "Aus Ihrer Authenticator-App oder von Ihren Wiederherstellungscodes, falls eingerichtet.",
    ),
    "sign_in_wrong": (
        "Name, password or code are wrong, or not valid any more.",
        "Name, Passwort oder Code sind falsch oder nicht mehr gültig.",
    ),
    "sign_in_wait": (
        "There were too many attempts from this network. Please wait a little.",
        "Aus diesem Netz kamen zu viele Versuche. Bitte warten Sie ein wenig.",
    ),
    # Streams
    "streams": ("Streams", "Streams"),
    "no_streams": ("There is no stream yet.", "Es gibt noch keinen Stream."),
    "may_no_streams": (
        "You may not see streams. What you may see is in the menu.",
        "Streams dürfen Sie nicht sehen. Was Sie sehen dürfen, steht im Menü.",
    ),
    "operator_adds": (
        "Films of this server are added by its operator: ask there, and the stream is here.",
        "Filme fügt auf diesem Server dessen Betreiber hinzu: Fragen Sie dort, dann steht der Stream hier.",
    ),
    "add_stream": ("Add a stream", "Stream hinzufügen"),
    "stream_name": ("Name in the address", "Name in der Adresse"),
    "stream_name_hint": (
        "Small letters, digits and hyphens. It cannot be changed later.",
        "Kleinbuchstaben, Ziffern und Bindestriche. Er lässt sich später nicht ändern.",
    ),
    "films": ("Films", "Filme"),
    "films_hint": (
        "From your folder on the server. Several make one stream: the same film in several qualities,"
        " and other languages' sound.",
        "Aus Ihrem Ordner auf dem Server. Mehrere ergeben einen Stream: derselbe Film in mehreren Qualitäten"
        " und der Ton weiterer Sprachen.",
    ),
    "no_films": (
        "There is no MP4 file in your folder on the server yet. Put one there, and load this page again.",
        "In Ihrem Ordner auf dem Server liegt noch keine MP4-Datei. Legen Sie eine dorthin, und laden Sie"
        " die Seite neu.",
    ),
    "conditions": ("When, where and how many", "Wann, wo und wie viele"),
    "opens_at": ("Opens", "Öffnet"),
    "closes_at": ("Closes", "Schließt"),
    "networks": ("Networks that viewers may come from", "Netze, aus denen Zuschauer kommen dürfen"),
    "networks_hint": (
        "One a line, as in 192.0.2.0/24 or 2001:db8::/32. Empty: all.",
        "Eines je Zeile, etwa 192.0.2.0/24 oder 2001:db8::/32. Leer: alle.",
    ),
    "countries": (
        "Countries that viewers may come from",
        "Länder, aus denen Zuschauer kommen dürfen",
    ),
    "countries_hint": (
        "As in DE, AT, CH (ISO 3166-1). Empty: no bound.",
        "Etwa DE, AT, CH (ISO 3166-1). Leer: keine Grenze.",
    ),
    "countries_denied": (
        "Countries that they may not come from",
        "Länder, aus denen sie nicht kommen dürfen",
    ),
    "unknown_country": (
        "Let in whose country is not known",
        "Einlassen, wessen Land nicht bekannt ist",
    ),
    "max_viewers": ("Viewers at a time", "Zuschauer gleichzeitig"),
    "protection": ("Encryption", "Verschlüsselung"),
    "encryption": ("Encryption of the film", "Verschlüsselung des Films"),
    "encryption_none": ("none", "keine"),
    "encryption_aes-128": ("AES-128, the same keys for all", "AES-128, gleiche Schlüssel für alle"),
    "encryption_aes-128-per-viewer": (
        "AES-128, keys of each viewer's own",
        "AES-128, eigene Schlüssel je Zuschauer",
    ),
    "encryption_hint": (
        "With keys of each viewer's own, what one viewer is sent opens nothing for another.",
        "Mit eigenen Schlüsseln je Zuschauer öffnet, was einer bekommt, keinem anderen etwas.",
    ),
    "all_at_once": ("The whole stream", "Der ganze Stream"),
    "maximum_hint": (
        "All that protects a film in one step: personal passwords, one device each, keys of each viewer's"
        " own, only on the sites that you have named, and no download.",
        "Alles, was einen Film schützt, auf einmal: persönliche Passwörter, je ein Gerät, eigene Schlüssel"
        " je Zuschauer, nur auf den Websites, die Sie genannt haben, und kein Download.",
    ),
    "is_maximum": (
        "This stream has all the protection that there is.",
        "Dieser Stream hat allen Schutz, den es gibt.",
    ),
    "maximum_stream": ("Protect to the maximum", "Maximal schützen"),
    "maximum_stream_title": ("Protect {name} to the maximum?", "{name} maximal schützen?"),
    "maximum_stream_what": (
        "These settings change. Each can be changed back by itself. Passwords of another kind than personal"
        " ones stop opening the film.",
        "Diese Einstellungen ändern sich. Jede lässt sich einzeln zurückstellen. Passwörter, die keine"
        " persönlichen sind, öffnen den Film dann nicht mehr.",
    ),
    "no_limit": ("no limit", "ohne Grenze"),
    "setting": ("Setting", "Einstellung"),
    "now": ("Now", "Jetzt"),
    "then": ("Then", "Dann"),
    "end_stream": ("Stop all who watch", "Alle Zuschauer trennen"),
    "end_stream_title": ("Stop all who watch {name}?", "Alle Zuschauer von {name} trennen?"),
    "end_stream_what": (
        "Whoever watches is stopped within one segment, some seconds, and has to come in anew. Passwords"
        " stay as they are.",
        "Wer zusieht, wird binnen eines Segments gestoppt, also nach Sekunden, und muss neu hereinkommen."
        " Passwörter bleiben, wie sie sind.",
    ),
    "done_end": ("All who watched are stopped.", "Alle Zuschauer sind getrennt."),
    "remove_stream": ("Remove this stream", "Diesen Stream entfernen"),
    "remove_stream_title": ("Remove {name}?", "{name} entfernen?"),
    "remove_stream_what": (
        "Whoever watches is stopped, and its address and its passwords open nothing any more. The film's"
        " file stays, and so does what was sent of it. This cannot be undone.",
        "Wer zusieht, wird gestoppt; Adresse und Passwörter öffnen nichts mehr. Die Filmdatei bleibt, und"
        " was davon gesendet wurde, bleibt verzeichnet. Das lässt sich nicht rückgängig machen.",
    ),
    "done_remove_stream": ("The stream is removed.", "Der Stream ist entfernt."),
    # Links and tokens of the customer's site
    "verifiers": ("Link keys", "Link-Schlüssel"),
    "verifiers_short": ("Link keys", "Schlüssel"),
    "to_verifiers": ("Keys of its links", "Schlüssel seiner Links"),
    "verifiers_hint": (
        "With these keys your own site lets viewers in: it signs links or tokens, and they are checked"
        " here. Two keys can be valid at a time, so that one can be replaced.",
        "Mit diesen Schlüsseln lässt Ihre eigene Website Zuschauer ein: Sie signiert Links oder Tokens, und"
        " hier werden sie geprüft. Zwei können zugleich gelten, damit sich einer ersetzen lässt.",
    ),
    "no_verifiers": ("There is no key yet.", "Es gibt noch keinen Schlüssel."),
    "no_keys_yet": (
        "Nobody can come in yet: there is no key for its links.",
        "Noch kann niemand herein: Es gibt keinen Schlüssel für seine Links.",
    ),
    "add_verifier": ("Add a key", "Schlüssel hinzufügen"),
    "for_signed": ("for signed links", "für signierte Links"),
    "for_external": ("by your own site", "über Ihre eigene Website"),
    "kind_of_link": ("pystream's signed link", "signierter Link von pystream"),
    "kind_of_akamai": ("Akamai Auth Token 2.0", "Akamai Auth Token 2.0"),
    "kind_of_bunny": ("bunny.net token", "bunny.net-Token"),
    "kind_of_wowza": ("Wowza SecureToken 2", "Wowza SecureToken 2"),
    "kind_of_jwt": ("JSON Web Token, shared secret", "JSON Web Token, gemeinsames Geheimnis"),
    "kind_of_jwks": (
        "JSON Web Token, your public keys",
        "JSON Web Token, Ihre öffentlichen Schlüssel",
    ),
    "kind_of_question": ("Question to your site", "Frage an Ihre Website"),
    "does_link": (
        "Your site signs each link with HMAC-SHA256.",
        "Ihre Website signiert jeden Link mit HMAC-SHA256.",
    ),
    "does_akamai": (
        "For sites that make such tokens already. Enter the key that they sign with, and have them sign an"
        " ACL that covers the film: /organisation/stream/*.",
        "Für Websites, die solche Tokens schon machen. Tragen Sie den Schlüssel ein, mit dem sie signieren,"
        " und lassen Sie eine ACL signieren, die den Film einschließt: /organisation/stream/*.",
    ),
    "does_bunny": (
        "For sites that make such links already. Enter the token authentication key, and have them sign the"
        " film's folder: token_path=/organisation/stream/.",
        "Für Websites, die solche Links schon machen. Tragen Sie den Token Authentication Key ein, und lassen"
        " Sie den Ordner des Films signieren: token_path=/organisation/stream/.",
    ),
    "does_wowza": (
        "For sites that make such links already. Enter the shared secret. The content path is"
        " organisation/stream, unless another one is said here.",
        "Für Websites, die solche Links schon machen. Tragen Sie das Shared Secret ein. Der Content Path ist"
        " organisation/stream, wenn hier kein anderer steht.",
    ),
    "does_jwt": (
        "Your site signs a token for each viewer (HS256), which opens the film once.",
        "Ihre Website signiert je Zuschauer ein Token (HS256), das den Film einmal öffnet.",
    ),
    "does_jwks": (
        "Your site signs a token for each viewer with a key of its own; the public ones lie at an"
        " address of yours.",
        "Ihre Website signiert je Zuschauer ein Token mit eigenem Schlüssel; die öffentlichen liegen unter"
        " einer Adresse von Ihnen.",
    ),
    "does_question": (
        "Your site is asked each time whether a viewer may watch. Without an answer nobody comes in.",
        "Ihre Website wird jedes Mal gefragt, ob ein Zuschauer sehen darf. Ohne Antwort kommt niemand"
        " herein.",
    ),
    "how_title": ("What your site does", "Was Ihre Website tut"),
    "how_more": (
        "The whole of it, with examples, stands in the description of the HTTP API.",
        "Alles mit Beispielen steht in der Beschreibung der HTTP-API (englisch).",
    ),
    "how_link": (
        "It puts expires (Unix seconds), key (the key's name), viewer (an opaque name, if you want one) and"
        " signature behind the page's address, as a query. Signed is a text of lines: pystream-link-1, the"
        " path (/organisation/stream/), then each parameter but the signature as name=value, sorted by"
        " name; with line feeds between them and none at the end. The signature is HMAC-SHA256 of it by the"
        " secret's 32 bytes, as base64url without padding.",
        "Sie hängt expires (Unix-Sekunden), key (Name des Schlüssels), viewer (ein undurchsichtiger Name,"
        " wenn Sie wollen) und signature als Query an die Adresse der Seite. Signiert wird ein Text aus"
        " Zeilen: pystream-link-1, der Pfad (/organisation/stream/), dann jeder Parameter außer signature"
        " als name=wert, nach Namen sortiert; mit Zeilenvorschub dazwischen und keinem am Ende. signature"
        " ist HMAC-SHA256 davon mit den 32 Bytes des Geheimnisses, als base64url ohne Auffüllung.",
    ),
    "how_token": (
        "It signs a token for one viewer and one visit, and sends the viewer to the page's address with"
        " #token= and the token behind it. The claims: aud (organisation/stream), sub (an opaque name), iat"
        " and exp (at most 300 seconds later), jti (a new name each time: a token opens once); max_devices,"
        " if you want. The header has kid, the key's name. A shared secret is base64url: what signs are the"
        " bytes that it stands for, and not its text.",
        "Sie signiert ein Token für einen Zuschauer und einen Besuch und schickt ihn zur Adresse der Seite"
        " mit #token= und dem Token dahinter. Die Claims: aud (organisation/stream), sub (ein"
        " undurchsichtiger Name), iat und exp (höchstens 300 Sekunden später), jti (jedes Mal ein neuer"
        " Name: ein Token öffnet einmal); max_devices, wenn Sie wollen. Der Header hat kid, den Namen des"
        " Schlüssels. Ein gemeinsames Geheimnis ist base64url: Signiert wird mit den Bytes, für die es"
        " steht, nicht mit seinem Text.",
    ),
    "how_question": (
        "It sends viewers to the page's address with #token= and a text of its own behind it. Its endpoint"
        " gets a POST of a JSON object with tenant, stream and token, and answers with status 200 and a JSON"
        " object: allow (true or false); viewer (an opaque name), expires_in (seconds) and max_devices, if"
        " you want. It is signed as Standard Webhooks 1.0.0 has it (webhook-id, webhook-timestamp,"
        " webhook-signature), or has your bearer token.",
        "Sie schickt Zuschauer zur Adresse der Seite mit #token= und einem eigenen Text dahinter. Ihr"
        " Endpunkt bekommt ein POST mit einem JSON-Objekt aus tenant, stream und token und antwortet mit"
        " Status 200 und einem JSON-Objekt: allow (true oder false); viewer (ein undurchsichtiger Name),"
        " expires_in (Sekunden) und max_devices, wenn Sie wollen. Signiert ist es nach Standard Webhooks"
        " 1.0.0 (webhook-id, webhook-timestamp, webhook-signature), oder es trägt Ihr Bearer-Token.",
    ),
    "verifier_stream_hint": (
        "All: for those that have no keys of their own.",
        "Alle: für die, die keine eigenen Schlüssel haben.",
    ),
    "key_name": ("Name of the key", "Name des Schlüssels"),
    "key_name_hint": (
        "As key of a link and kid of a token have it. Empty: one is made.",
        "Wie key eines Links und kid eines Tokens ihn haben. Leer: Es wird einer gemacht.",
    ),
    "secret": ("Secret", "Geheimnis"),
    "secret_hint": (
        "Empty: one is made here, and shown once.",
        "Leer: Hier wird eines gemacht und einmal gezeigt.",
    ),
    "secret_of_link": ("64 hexadecimal digits.", "64 hexadezimale Ziffern."),
    "secret_of_akamai": ("Hexadecimal digits.", "Hexadezimale Ziffern."),
    "secret_of_bunny": ("Printable ASCII.", "Druckbares ASCII."),
    "secret_of_wowza": ("8 letters and digits or more.", "8 Buchstaben und Ziffern oder mehr."),
    "secret_of_jwt": (
        "base64url of 32 bytes or more; these bytes, decoded, are the key.",
        "base64url von 32 Bytes oder mehr; diese Bytes, dekodiert, sind der Schlüssel.",
    ),
    "secret_of_question": (
        "whsec_ and base64, or a bearer token.",
        "whsec_ und base64, oder ein Bearer-Token.",
    ),
    "salt": ("Salt", "Salt"),
    "algorithm": ("Algorithm", "Verfahren"),
    "escape_early": ("Escape token input", "Escape token input"),
    "token_name": ("Name of parameter and cookie", "Name von Parameter und Cookie"),
    "with_address": (
        "The viewer's address is signed, too",
        "Auch die Adresse des Zuschauers ist signiert",
    ),
    "prefix": ("Hash query parameter prefix", "Hash query parameter prefix"),
    "content": (
        "Content path of one stream, if it is not tenant/stream",
        "Content path eines Streams, falls nicht Organisation/Stream",
    ),
    "url": ("Address", "Adresse"),
    "bearer": ("Send the secret as a bearer token", "Das Geheimnis als Bearer-Token senden"),
    "seconds": ("Seconds to answer in", "Sekunden für die Antwort"),
    "kept_s": ("Seconds for which a yes is kept", "Sekunden, für die ein Ja gilt"),
    "since": ("Since", "Seit"),
    "removed_stream": ("a removed stream", "ein entfernter Stream"),
    "second_key": ("Second key", "Zweiter Schlüssel"),
    "go_on": ("Go on", "Weiter"),
    "verifier_title": ("Key {name}", "Schlüssel {name}"),
    "verifier_what": (
        "The secret is shown this once. Put it where your site signs. If it replaces another one, revoke"
        " that when your site uses this.",
        "Das Geheimnis wird nur jetzt gezeigt. Tragen Sie es dort ein, wo Ihre Website signiert. Ersetzt es"
        " ein anderes, so widerrufen Sie jenes, sobald Ihre Website dieses benutzt.",
    ),
    "back_to_verifiers": ("Back to the keys", "Zurück zu den Schlüsseln"),
    "revoke_verifier_title": ("Revoke the key {name}?", "Schlüssel {name} widerrufen?"),
    "revoke_verifier_what": (
        "What is signed with it lets nobody in any more, from now on, and its secret is destroyed. Who came"
        " in with it goes on watching.",
        "Was damit signiert ist, lässt ab sofort niemanden mehr ein, und das Geheimnis wird vernichtet. Wer"
        " damit hereinkam, sieht weiter zu.",
    ),
    "done_add_verifier": ("The key is added.", "Der Schlüssel ist hinzugefügt."),
    "title": ("Title", "Titel"),
    "access": ("Access", "Zugang"),
    "access_open": ("open", "offen"),
    "access_shared": ("one password for all", "ein Passwort für alle"),
    "access_personal": ("personal passwords", "persönliche Passwörter"),
    "access_signed": ("signed links", "signierte Links"),
    "access_external": ("by your own site", "über Ihre eigene Website"),
    "watching_one": ("1 is watching", "1 sieht zu"),
    "watching": ("{count} are watching", "{count} sehen zu"),
    "watching_all": (
        "watching now, all streams together",
        "sehen gerade zu, alle Streams zusammen",
    ),
    "can_download": ("download allowed", "Download erlaubt"),
    "open_page": ("Open the player page", "Player-Seite öffnen"),
    "to_passwords": ("Passwords of this stream", "Passwörter dieses Streams"),
    "embed": ("Embed code", "Einbettungscode"),
    "embed_hint": (
        "Paste all of this into the page of your site. The site has to be among those that may embed it.",
        "Fügen Sie das ganz in eine Seite Ihrer Website ein. Die Website muss zu denen gehören, die"
        " einbetten dürfen.",
    ),
    "settings": ("Settings", "Einstellungen"),
    "devices": ("Devices", "Geräte"),
    "max_devices": (
        "Devices at a time with one password",
        "Geräte gleichzeitig mit einem Passwort",
    ),
    "max_devices_hint": ("Empty: any number.", "Leer: beliebig viele."),
    "device_mode": ("One device more", "Ein Gerät mehr"),
    "reject_new": ("is refused", "wird abgewiesen"),
    "kick_oldest": ("takes over from the first one", "löst das erste ab"),
    "embedding": ("Embedding", "Einbettung"),
    "embed_origins": (
        "Sites that may embed the player",
        "Websites, die den Player einbetten dürfen",
    ),
    "embed_origins_hint": (
        "One a line, as in https://www.example.org; * alone means all.",
        "Eine je Zeile, etwa https://www.example.org; nur * heißt: alle.",
    ),
    "embed_lock": (
        "Show it on these sites only, not on its own page",
        "Nur auf diesen Websites zeigen, nicht auf der eigenen Seite",
    ),
    "no_referrer": (
        "Let in players as well that name no site, as apps and television sets do",
        "Auch Player einlassen, die keine Website nennen, wie Apps und Fernseher",
    ),
    "download": ("Download", "Download"),
    "download_switch": (
        "Viewers may download the film as an MP4 file",
        "Zuschauer dürfen den Film als MP4-Datei herunterladen",
    ),
    "download_warning": (
        "Whoever has the file needs nothing else: it plays without a password, on any device, on"
        " any site"
        " and without your notice, can be passed on, cannot be revoked, and nobody's attendance can"
        " be told"
        " by it.",
        "Wer die Datei hat, braucht nichts weiter: Sie läuft ohne Passwort, auf jedem Gerät, auf"
        " jeder Website"
        " und ohne Ihren Hinweis, lässt sich weitergeben und nicht widerrufen, und Anwesenheit ist"
        " damit nicht"
        " nachweisbar.",
    ),
    "attendance": ("Attendance", "Anwesenheit"),
    "attendance_switch": (
        "Record how long has been watched with each password",
        "Aufzeichnen, wie lange mit jedem Passwort zugesehen wurde",
    ),
    "attendance_hint": (
        "Each viewer needs a password of their own, or is named by your site's link or token.",
        "Alle Zuschauer brauchen ein eigenes Passwort, oder ein Link oder Token Ihrer Website benennt"
        " sie.",
    ),
    "no_skip": ("No skipping ahead", "Kein Vorspulen"),
    "no_skip_switch": (
        "Give viewers no more of the film than they could have watched so far",
        "Zuschauern nicht mehr vom Film geben, als sie bis jetzt gesehen haben können",
    ),
    "no_skip_hint": (
        "They go back as they like, and go on where they stopped, on any device. It needs a password for"
        " each viewer and attendance, and excludes the download.",
        "Zurück geht es jederzeit, und weiter dort, wo aufgehört wurde, auf jedem Gerät. Es braucht ein"
        " Passwort je Zuschauer und die Anwesenheit, und schließt den Download aus.",
    ),
    "beacons": ("What the player says", "Angaben des Players"),
    "beacons_switch": (
        "Have the page say what it plays, and whether it is hidden",
        "Die Seite sagen lassen, was sie abspielt und ob sie verdeckt ist",
    ),
    "beacons_hint": (
        "Then only what was playing is confirmed. Viewers are told so.",
        "Bestätigt wird dann nur, was wirklich lief. Das wird den Zuschauern gesagt.",
    ),
    "require_visible_switch": (
        "Count nothing that plays in a hidden page",
        "Nichts zählen, was in einer verdeckten Seite läuft",
    ),
    "check_minutes": ("Ask once in so many minutes", "Einmal fragen in so vielen Minuten"),
    "check_minutes_hint": (
        "Whether somebody is there, at a moment that nobody can foresee; from 5 minutes on. Empty: never.",
        "Ob jemand da ist, zu einem Zeitpunkt, den niemand vorhersieht; ab 5 Minuten. Leer: nie.",
    ),
    "own_count_switch": (
        "Show viewers how much of their attendance counts so far",
        "Zuschauern zeigen, wie viel von ihrer Anwesenheit bis jetzt zählt",
    ),
    "purpose_wanted": (
        "Before that, your organisation has to accept what it is recorded for.",
        "Zuvor muss Ihre Organisation akzeptieren, wofür aufgezeichnet wird.",
    ),
    "notice": ("Notice to viewers", "Hinweis an die Zuschauer"),
    "notice_where": (
        "It is one for all streams and is shown before a password is typed.",
        "Er gilt für alle Streams und wird gezeigt, bevor ein Passwort eingegeben wird.",
    ),
    "notice_none": ("There is no notice.", "Es gibt keinen Hinweis."),
    "changed_meanwhile": (
        "Somebody has changed this stream since you opened the page. These are its present settings.",
        "Jemand hat diesen Stream geändert, seit Sie die Seite geöffnet haben. Das sind die jetzigen"
        " Einstellungen.",
    ),
    "has_passwords": (
        "Passwords of another kind than the access stop opening the film.",
        "Passwörter anderer Art als der Zugang öffnen den Film nicht mehr.",
    ),
    # Passwords
    "passwords": ("Passwords", "Passwörter"),
    "create": ("Create passwords", "Passwörter anlegen"),
    "import": ("Import a list", "Liste importieren"),
    "stream": ("Stream", "Stream"),
    "all_streams": ("All streams", "Alle Streams"),
    "search": ("Search", "Suchen"),
    "search_hint": ("Password or label", "Passwort oder Bezeichnung"),
    "no_passwords": ("There is no password here.", "Hier gibt es kein Passwort."),
    "search_limit": (
        "Only the first {count} passwords were searched. Choose a stream, or type a whole password.",
        "Nur die ersten {count} Passwörter wurden durchsucht. Wählen Sie einen Stream, oder geben"
        " Sie ein"
        " ganzes Passwort ein.",
    ),
    "label": ("Label", "Bezeichnung"),
    "label_hint": (
        "Your own note. It is stored encrypted and need not be anybody's name.",
        "Ihre eigene Notiz. Sie wird verschlüsselt gespeichert und muss kein Name sein.",
    ),
    "change_hint": (
        "Choose a password to change its label, validity or devices.",
        "Wählen Sie ein Passwort, um Bezeichnung, Gültigkeit oder Geräte zu ändern.",
    ),
    "change_viewers_password": ("Change a viewer's password", "Passwort eines Zuschauers ändern"),
    "change_viewers_password_what": (
        "Who watches with it goes on. The next to come in do so by what you set here.",
        "Wer damit zusieht, sieht weiter zu. Was Sie hier festlegen, gilt beim nächsten Hereinkommen.",
    ),
    "state": ("State", "Zustand"),
    "state_valid": ("valid", "gültig"),
    "state_to_come": ("not yet", "noch nicht"),
    "state_over": ("expired", "abgelaufen"),
    "state_revoked": ("revoked", "widerrufen"),
    "state_erased": ("erased", "gelöscht"),
    "test": ("test access", "Testzugang"),
    "valid_from": ("Valid from", "Gültig ab"),
    "valid_until": ("Valid until", "Gültig bis"),
    "valid_hint": (
        "As 2031-05-01 or 2031-05-01 18:00, in the time zone {zone}. Until a date is to its end.",
        "Als 01.05.2031 oder 01.05.2031 18:00, in der Zeitzone {zone}. Bis zu einem Tag heißt: bis"
        " zu dessen"
        " Ende.",
    ),
    "count": ("How many", "Wie viele"),
    "devices_hint": ("Empty: as the stream has it.", "Leer: wie beim Stream."),
    "test_hint": (
        "For whoever examines the event: in no sum of viewers and no report's total. It takes a place, and"
        " what it is sent is traffic.",
        "Für die Prüfung der Veranstaltung: in keiner Zuschauerzahl und keiner Summe eines Berichts. Er"
        " belegt einen Platz, und was er bekommt, zählt als Datenverkehr.",
    ),
    "no_password_streams": (
        "No stream takes passwords. Choose that access in a stream's settings first.",
        "Kein Stream nimmt Passwörter. Wählen Sie diesen Zugang erst in den Einstellungen eines"
        " Streams.",
    ),
    "select": ("Select", "Auswählen"),
    "select_all": ("Select all on this page", "Alle auf dieser Seite auswählen"),
    "nothing_selected": ("Nothing was selected.", "Es war nichts ausgewählt."),
    "revoke": ("Revoke", "Widerrufen"),
    "rotate": ("Replace", "Ersetzen"),
    "password_data": (
        "All that is known of it, for whoever holds it",
        "Alles dazu Gespeicherte, für die Person, die es hat",
    ),
    "password_data_short": ("Data", "Daten"),
    "restriction": ("Restriction", "Einschränkung"),
    "restricted": ("restricted", "eingeschränkt"),
    "restrict": ("Restrict", "Einschränken"),
    "restrict_title": (
        "Restrict what is known of a password",
        "Daten eines Passworts einschränken",
    ),
    "restrict_what": (
        "What is restricted (Art. 18 GDPR) is kept, however old it gets, and can neither be erased nor used:"
        " it is in no receipt or export of attendance and in no report, which says how many it leaves out;"
        " sealed reports from before are shown without it. Whoever holds the password watches on; what is"
        " recorded meanwhile is kept the same way.",
        "Was eingeschränkt ist (Art. 18 DSGVO), bleibt erhalten, wie alt es auch wird, und lässt sich weder"
        " löschen noch nutzen: Es steht in keinem Beleg, keinem Export der Anwesenheit und keinem Bericht;"
        " dieser sagt, wie viele ihm fehlen, und früher versiegelte Berichte werden ohne das gezeigt. Wer das"
        " Passwort hat, sieht weiter zu; was inzwischen aufgezeichnet wird, bleibt ebenso erhalten.",
    ),
    "restrict_reason_hint": (
        "Whose wish it is, and why, without a name. It is on record.",
        "Wer es will und warum, ohne Namen. Er wird protokolliert.",
    ),
    "is_restricted": ("It is restricted since {when}.", "Sie sind seit {when} eingeschränkt."),
    "done_restrict": ("It is restricted.", "Die Daten sind eingeschränkt."),
    "lift": ("Lift the restriction", "Einschränkung aufheben"),
    "done_lift": ("The restriction is lifted.", "Die Einschränkung ist aufgehoben."),
    "erase": ("Erase", "Löschen"),
    "revoke_title": ("Revoke passwords?", "Passwörter widerrufen?"),
    "rotate_title": ("Replace passwords?", "Passwörter ersetzen?"),
    "erase_title": ("Erase passwords?", "Passwörter löschen?"),
    "revoke_what": (
        "Whoever watches with one is stopped within one segment, some seconds. This cannot be undone.",
        "Wer damit zusieht, wird binnen eines Segments gestoppt, also nach Sekunden. Das lässt sich"
        " nicht"
        " rückgängig machen.",
    ),
    "rotate_what": (
        "Each gets a new one in its place, with the same label, validity and devices. The old ones"
        " are revoked.",
        "Jedes wird durch ein neues ersetzt, mit gleicher Bezeichnung, Gültigkeit und Gerätezahl."
        " Die alten"
        " werden widerrufen.",
    ),
    "erase_what": (
        "They are revoked, and what they and their labels are encrypted with is destroyed: nobody can read"
        " them again, in no backup either once those of the server's keys are deleted. What is recorded of"
        " their attendance goes too, and their names in sealed reports. This cannot be undone.",
        "Sie werden widerrufen, und womit sie und ihre Bezeichnungen verschlüsselt sind, wird vernichtet:"
        " Niemand kann sie je wieder lesen, auch in keiner Sicherung, sobald die der Schlüssel des Servers"
        " gelöscht sind. Auch was zu ihrer Anwesenheit aufgezeichnet ist, geht, und ihre Namen in"
        " versiegelten Berichten. Das lässt sich nicht rückgängig machen.",
    ),
    "selected_one": ("1 password is selected.", "1 Passwort ist ausgewählt."),
    "selected": ("{count} passwords are selected.", "{count} Passwörter sind ausgewählt."),
    "done_revoke": ("Revoked.", "Widerrufen."),
    "done_erase": ("Erased.", "Gelöscht."),
    "done_import": ("Imported.", "Importiert."),
    "sheet": ("List of passwords", "Passwortliste"),
    "sheet_what": (
        "Print this list, or the cards. The passwords of the stream lead here again. Each view of passwords"
        " is on record.",
        "Drucken Sie diese Liste oder die Karten. Über die Passwörter des Streams kommen Sie wieder hierher."
        " Jeder Blick auf Passwörter wird protokolliert.",
    ),
    "sheet_part": (
        "This list is longer than {most} passwords. {count} of them are on this page, and get their cards"
        " here; the others are on its other pages.",
        "Diese Liste hat mehr als {most} Passwörter. {count} davon stehen auf dieser Seite und bekommen hier"
        " ihre Karten, die übrigen stehen auf den anderen Seiten.",
    ),
    "sheet_address": ("Address", "Adresse"),
    "cards": ("Cards as PDF", "Karten als PDF"),
    "export": ("Export as CSV", "Als CSV exportieren"),
    "cards_all": ("Cards of all valid passwords", "Karten aller gültigen Passwörter"),
    "cards_valid": (
        "Those that let nobody in any more get no card.",
        "Was niemanden mehr einlässt, bekommt keine Karte.",
    ),
    "sheets": ("Lists to print again", "Listen noch einmal drucken"),
    "sheets_hint": (
        "What was made or imported together, by the time of it, with how many there were then.",
        "Was zusammen angelegt oder importiert wurde, nach der Zeit, mit der Zahl von damals.",
    ),
    "cards_hint": (
        "Ten on a page, to cut, with a code to scan.",
        "Zehn je Seite zum Ausschneiden, mit Code zum Scannen.",
    ),
    "cards_url": ("Address on the cards", "Adresse auf den Karten"),
    "cards_url_hint": (
        "The player page, or your own page with the whole embed code, which hands what was scanned on to the"
        " player.",
        "Die Player-Seite oder Ihre eigene Seite mit dem ganzen Einbettungscode, der das Gescannte an den"
        " Player weitergibt.",
    ),
    "cards_language": ("Language of the cards", "Sprache der Karten"),
    "import_file": ("CSV file", "CSV-Datei"),
    "import_hint": (
        "Columns: password, label, valid from, valid until, max devices, test; the first line may"
        " name them, and has to where the first column is another. UTF-8, at most 50,000 passwords and 8 MB.",
        "Spalten: Passwort, Bezeichnung, gültig ab, gültig bis, Geräte, Test; die erste Zeile darf"
        " sie nennen, und muss es, wo die erste Spalte eine andere ist. UTF-8, höchstens 50.000 Passwörter"
        " und 8 MB.",
    ),
    "import_check": ("Check the list", "Liste prüfen"),
    "import_go": ("Import {count} passwords", "{count} Passwörter importieren"),
    "import_go_one": ("Import 1 password", "1 Passwort importieren"),
    "import_preview": ("Check before the import", "Prüfung vor dem Import"),
    "import_sound": (
        "{count} passwords can be imported.",
        "{count} Passwörter können importiert werden.",
    ),
    "import_sound_one": ("1 password can be imported.", "1 Passwort kann importiert werden."),
    "import_warned": (
        "These passwords can be guessed ({count}). Better have some made here.",
        "Diese Passwörter sind erratbar ({count}). Besser, Sie lassen hier welche anlegen.",
    ),
    "import_over": (
        "These are over already ({count}), and open nothing.",
        "Diese sind schon abgelaufen ({count}) und öffnen nichts.",
    ),
    "import_line": ("Line {line}", "Zeile {line}"),
    "import_more": ("… and {count} more", "… und {count} weitere"),
    "import_first": ("The first lines", "Die ersten Zeilen"),
    "guess_MAIL": ("it is an e-mail address", "es ist eine E-Mail-Adresse"),
    "guess_EFN": ("it is a physician's training number (EFN)", "es ist eine EFN"),
    "guess_LANR": (
        "it is a physician's number (LANR), which is on every prescription",
        "es ist eine LANR, die auf jedem Rezept steht",
    ),
    "guess_DATE": ("it is a date", "es ist ein Datum"),
    "guess_HERE": (
        "strangers find it by trying it here, it is so short",
        "so kurz, dass Fremde es durch Probieren finden",
    ),
    "guess_DIGITS": ("it has few digits", "es hat nur wenige Ziffern"),
    "guess_SHORT": ("it is too short", "es ist zu kurz"),
    "guess_REPEATED": ("it repeats a few characters", "es wiederholt wenige Zeichen"),
    "guess_WORDS": ("it is made of words", "es besteht aus Wörtern"),
    "guess_SEQUENCE": ("it is one of a sequence", "es gehört zu einer fortlaufenden Reihe"),
    "guess_ALIKE": (
        "it is too much like others of the list",
        "es ist anderen der Liste zu ähnlich",
    ),
    # Events
    "events": ("Events", "Veranstaltungen"),
    "event": ("Event", "Veranstaltung"),
    "events_hint": (
        "What people attend: a programme over one or several streams and days. Its report says who was"
        " there, for how long, and what that is worth.",
        "Woran teilgenommen wird: ein Programm über einen oder mehrere Streams und Tage. Der Bericht sagt,"
        " wer wie lange dabei war und was das wert ist.",
    ),
    "no_events": ("There is no event yet.", "Es gibt noch keine Veranstaltung."),
    "add_event": ("Add an event", "Veranstaltung anlegen"),
    "event_name": ("Name in addresses", "Name in Adressen"),
    "event_streams_hint": (
        "Time on several of them at once counts once.",
        "Zeit auf mehreren zugleich zählt einmal.",
    ),
    "not_recorded": ("attendance is not recorded", "Anwesenheit wird nicht aufgezeichnet"),
    "when_it_is": ("When it is", "Wann sie ist"),
    "windows_hint": (
        "A line each, as in 2031-05-16 18:00–19:30, over midnight 2031-05-16 23:00 – 2031-05-17 00:30, in"
        " the time zone {zone}.",
        "Je eine Zeile, etwa 16.05.2031 18:00–19:30, über Mitternacht 16.05.2031 23:00 – 17.05.2031 00:30,"
        " in der Zeitzone {zone}.",
    ),
    "breaks_hint": (
        "What is no part of the programme, written in the same way.",
        "Was nicht zum Programm gehört, ebenso geschrieben.",
    ),
    "programme_long": (
        "The programme without them is {hours}:{minutes} hours long.",
        "Das Programm ohne sie dauert {hours}:{minutes} Stunden.",
    ),
    "worth": ("Points", "Punkte"),
    "rounding_floor45": (
        "a point for each full 45 minutes",
        "ein Punkt je volle 45 Minuten",
    ),
    "rounding_ama_quarter": (
        "a point for 60 minutes, to the nearest quarter of an hour",
        "ein Punkt für 60 Minuten, auf die nächste Viertelstunde gerundet",
    ),
    "rounding_threshold_pct": (
        "no points: certified or not, at the least part",
        "keine Punkte: bestätigt oder nicht, ab dem Mindestanteil",
    ),
    "threshold_hint": (
        "Below either, nothing is certified. Empty: no bound.",
        "Darunter wird nichts bestätigt. Leer: keine Grenze.",
    ),
    "seal_after_hint": (
        "Until then evidence may come in late, and reports are provisional. Then the server seals them by"
        " itself, unless the event lasts longer than its evidence is kept.",
        "Bis dahin können Nachweise verspätet eintreffen, und Berichte sind vorläufig. Dann versiegelt sie"
        " der Server von selbst, außer die Veranstaltung dauert länger, als ihre Nachweise bleiben.",
    ),
    "counted_hint": (
        "Empty: as the rule has it for films, 60 seconds and half a segment. What was sealed stays as it"
        " was counted.",
        "Leer: wie es die Regel für Filme vorsieht, 60 Sekunden und ein halbes Segment. Was versiegelt ist,"
        " bleibt, wie es gezählt wurde.",
    ),
    "credit_outage_switch": (
        "Reports say how much of an outage of the server lay within somebody's attendance; it counts"
        " nowhere else",
        "Berichte sagen, wie viel eines Ausfalls des Servers in jemandes Teilnahme fiel; sonst zählt es"
        " nirgends",
    ),
    "remove_event": ("Remove this event", "Diese Veranstaltung entfernen"),
    "remove_event_title": ("Remove {name}?", "{name} entfernen?"),
    "remove_event_what": (
        "The event and its report are gone. Who has watched its streams stays recorded. One that has a"
        " sealed report cannot be removed.",
        "Die Veranstaltung und ihr Bericht sind weg. Wer ihre Streams gesehen hat, bleibt aufgezeichnet."
        " Gibt es einen versiegelten Bericht, lässt sie sich nicht entfernen.",
    ),
    "done_remove_event": ("The event is removed.", "Die Veranstaltung ist entfernt."),
    # Reports
    "report": ("Report", "Bericht"),
    "to_event": ("Back to the event", "Zurück zur Veranstaltung"),
    "to_stream": ("Back to the stream", "Zurück zum Stream"),
    "to_attendance": ("Attendance", "Anwesenheit"),
    "all_days": ("All days", "Alle Tage"),
    "versions": ("Versions", "Fassungen"),
    "provisional": ("Now, provisional", "Jetzt, vorläufig"),
    "version": ("Version {number}", "Fassung {number}"),
    "is_provisional": ("This report is provisional.", "Dieser Bericht ist vorläufig."),
    "is_provisional_what": (
        "It is of what was known on {when}, and nobody has signed it.",
        "Er gibt wieder, was am {when} bekannt war, und niemand hat ihn signiert.",
    ),
    "can_be_sealed": ("It can be sealed now.", "Er kann jetzt versiegelt werden."),
    "can_be_sealed_from": (
        "It can be sealed from {when} on, as evidence may still come in.",
        "Er kann ab {when} versiegelt werden, da noch Nachweise eintreffen können.",
    ),
    "days_are_sealed": (
        "Each day has a report of its own, which the server seals by itself a day later, unless an event has"
        " the day.",
        "Jeder Tag hat einen eigenen Bericht. Der Server versiegelt ihn einen Tag später von selbst, außer"
        " der Tag gehört zu einer Veranstaltung.",
    ),
    "is_sealed": ("Version {number} is sealed.", "Fassung {number} ist versiegelt."),
    "is_sealed_what": (
        "It was signed on {when}, and never changes.",
        "Sie wurde am {when} signiert und ändert sich nie.",
    ),
    "is_incomplete": (
        "Passwords were erased since, and have no name any more, or their data is restricted: so what was"
        " signed cannot be downloaded now. A file that was downloaded before can be verified as ever.",
        "Seitdem wurden Passwörter gelöscht und haben keinen Namen mehr, oder ihre Daten sind eingeschränkt:"
        " Das Signierte lässt sich jetzt nicht herunterladen. Früher heruntergeladene Dateien sind"
        " nachprüfbar wie zuvor.",
    ),
    "seal": ("Seal it", "Versiegeln"),
    "seal_next": ("Seal it as version {number}", "Als Fassung {number} versiegeln"),
    "seal_title": ("Seal version {number}?", "Fassung {number} versiegeln?"),
    "seal_what": (
        "The report is signed as it is now, with a checkpoint of the log behind it. A sealed version never"
        " changes and cannot be taken back; whatever is wrong is corrected in another one.",
        "Der Bericht wird signiert, wie er jetzt ist, mit einem Prüfpunkt des Protokolls dahinter. Eine"
        " versiegelte Fassung ändert sich nie und lässt sich nicht zurücknehmen; was falsch ist, berichtigt"
        " eine weitere.",
    ),
    "reason_hint": (
        "It stands in the new version.",
        "Er steht in der neuen Fassung.",
    ),
    "seal_early": (
        "It is too early for that: evidence may still come in.",
        "Dafür ist es zu früh: Es können noch Nachweise eintreffen.",
    ),
    "done_seal": ("The report is sealed.", "Der Bericht ist versiegelt."),
    "holds": ("Holds", "Festhalten"),
    "holds_all": ("All sealed reports", "Alle versiegelten Berichte"),
    "holds_hint": (
        "Sealed reports are deleted when they are old, and passwords in them when somebody wants them erased."
        " A report that a law or a chamber wants as it is can be held until a day.",
        "Versiegelte Berichte werden gelöscht, wenn sie alt sind, und Passwörter darin, wenn jemand das"
        " verlangt. Ein Bericht, den ein Gesetz oder eine Kammer so braucht, lässt sich bis zu einem Tag"
        " festhalten.",
    ),
    "no_holds": ("No report is sealed yet.", "Noch ist kein Bericht versiegelt."),
    "sealed_last": ("Sealed last", "Zuletzt versiegelt"),
    "to_report": ("To the report", "Zum Bericht"),
    "hold": ("Hold it", "Festhalten"),
    "hold_change": ("Change the hold", "Ändern"),
    "hold_title": ("Hold a sealed report", "Versiegelten Bericht festhalten"),
    "hold_what": (
        "While it is held, all its versions are kept, however old they get; no password that they name can be"
        " erased, and neither its stream nor your organisation can be removed. Whoever wants to be erased"
        " meanwhile is to be told why that has to wait.",
        "Solange er festgehalten wird, bleiben alle seine Fassungen, wie alt sie auch werden; kein Passwort,"
        " das sie nennen, lässt sich löschen, und weder sein Stream noch Ihre Organisation lassen sich"
        " entfernen. Wer inzwischen gelöscht werden will, muss erfahren, warum das warten muss.",
    ),
    "hold_until": ("Held until", "Festgehalten bis"),
    "hold_until_hint": (
        "A day, to its end, as 2031-05-01 or 01.05.2031, or with a time, in {zone}.",
        "Ein Tag, bis zu seinem Ende, etwa 01.05.2031 oder 2031-05-01, oder mit Uhrzeit, in {zone}.",
    ),
    "hold_reason_hint": (
        "The law, or whose wish it is. It is on record, and told to whoever wants to erase a password.",
        "Das Gesetz, oder wer es will. Er wird protokolliert und dem gesagt, der ein Passwort löschen will.",
    ),
    "is_held": (
        "Its sealed versions are held until {until}.",
        "Seine versiegelten Fassungen werden bis {until} festgehalten.",
    ),
    "is_held_since": ("It was held on {when}.", "Das gilt seit {when}."),
    "done_hold": ("The report is held.", "Der Bericht wird festgehalten."),
    "release": ("Hold it no more", "Nicht mehr festhalten"),
    "release_title": ("Hold this report no more?", "Diesen Bericht nicht mehr festhalten?"),
    "release_what": (
        "What is too old by now is deleted soon, and passwords can be erased again. That cannot be undone.",
        "Was inzwischen zu alt ist, wird bald gelöscht, und Passwörter lassen sich wieder löschen. Das lässt"
        " sich nicht rückgängig machen.",
    ),
    "done_release": ("The report is held no more.", "Der Bericht wird nicht mehr festgehalten."),
    "downloads": ("Downloads", "Herunterladen"),
    "as_pdf": ("List as PDF", "Liste als PDF"),
    "as_xlsx": ("Excel", "Excel"),
    "as_csv": ("CSV", "CSV"),
    "as_json": ("JSON", "JSON"),
    "as_svg": ("Audience as SVG", "Zuschauer als SVG"),
    "seen_is_recorded": (
        "Each look at a report and each download is on record.",
        "Jeder Blick in einen Bericht und jedes Herunterladen wird protokolliert.",
    ),
    "receipt": ("Receipt", "Beleg"),
    "receipts": ("Receipts of attendance", "Belege über die Anwesenheit"),
    "receipts_hint": (
        "What this password has watched of a stream, with its events and the proof that they are in the"
        " signed log: anybody who has the public key can verify it.",
        "Was mit diesem Passwort von einem Stream gesehen wurde, mit den Ereignissen und dem Beweis, dass"
        " sie im signierten Protokoll stehen: Wer den öffentlichen Schlüssel hat, kann es nachprüfen.",
    ),
    "of_lines": ("{first} to {last} of {count}", "{first} bis {last} von {count}"),
    "what_it_says": ("What this report is", "Was dieser Bericht ist"),
    "bar_means": (
        "Bars: pale is the programme, strong online within it, grey online in a break.",
        "Balken: hell das Programm, kräftig online darin, grau online in einer Pause.",
    ),
    # The log of attendance
    "evidence": ("Proof", "Nachweise"),
    "evidence_hint": (
        "What was recorded of attendance stands in a log that only grows and is signed. Whoever has its"
        " public key can verify reports and receipts on any machine; whoever kept a checkpoint can tell"
        " that nothing was changed before it.",
        "Was von Anwesenheit aufgezeichnet wurde, steht in einem Protokoll, das nur wächst und signiert"
        " ist. Wer den öffentlichen Schlüssel hat, kann Berichte und Belege auf jedem Rechner nachprüfen;"
        " wer einen Prüfpunkt aufbewahrt hat, sieht, dass davor nichts geändert wurde.",
    ),
    "public_key": ("Public key", "Öffentlicher Schlüssel"),
    "public_key_hint": (
        "Put it into a file for `pystream attendance verify --public-key`, and give it to whoever is to"
        " verify.",
        "Legen Sie ihn in eine Datei für `pystream attendance verify --public-key`, und geben Sie ihn"
        " allen, die nachprüfen sollen.",
    ),
    "checkpoint": ("Newest checkpoint", "Neuester Prüfpunkt"),
    "checkpoint_hint": (
        "One a day is signed of a log that has grown, and one with each sealed report. Keep them elsewhere.",
        "Von einem Protokoll, das gewachsen ist, wird täglich einer signiert, und einer mit jedem"
        " versiegelten Bericht. Bewahren Sie sie anderswo auf.",
    ),
    "sign_now": ("Sign one now", "Jetzt einen signieren"),
    "done_sign": ("The checkpoint is signed.", "Der Prüfpunkt ist signiert."),
    "log_of_attendance": ("The log itself", "Das Protokoll selbst"),
    "log_hint": (
        "Leaf by leaf, for `pystream attendance verify --evidence`. Passwords are called by their numbers;"
        " what was erased is a hash alone. Each export is on record.",
        "Eintrag für Eintrag, für `pystream attendance verify --evidence`. Passwörter stehen darin mit ihren"
        " Nummern; was gelöscht wurde, ist nur ein Hash. Jeder Export wird protokolliert.",
    ),
    "export_log": ("Export the log", "Protokoll exportieren"),
    "checkpoints": ("Checkpoints", "Prüfpunkte"),
    "epoch": ("Epoch", "Epoche"),
    "leaves": ("Entries", "Einträge"),
    "cosigned_by": ("Cosigned by", "Mitgezeichnet von"),
    "stamped": ("Time stamp", "Zeitstempel"),
    "no_key_yet": (
        "There is no key yet: before that, your organisation has to accept what attendance is recorded for.",
        "Es gibt noch keinen Schlüssel: Zuvor muss Ihre Organisation akzeptieren, wofür Anwesenheit"
        " aufgezeichnet wird.",
    ),
    "vnr": ("Chamber's number (VNR)", "Veranstaltungsnummer (VNR)"),
    "event_streams": ("Streams of the event", "Streams der Veranstaltung"),
    "windows": ("Programme", "Programm"),
    "breaks": ("Breaks", "Pausen"),
    "rounding": ("What time is worth", "Was die Zeit wert ist"),
    "threshold_pct": ("Least part of the programme, percent", "Mindestanteil am Programm, Prozent"),
    "least_minutes": ("Least time, minutes", "Mindestzeit, Minuten"),
    "seal_after": (
        "Reports can be sealed so many hours after the last day",
        "Berichte lassen sich so viele Stunden nach dem letzten Tag versiegeln",
    ),
    "lookahead_s": (
        "Counts ahead of its delivery, seconds",
        "Zählt der Lieferung voraus, Sekunden",
    ),
    "bridge_ms": ("Holes that are none, milliseconds", "Lücken, die keine sind, Millisekunden"),
    "reason": ("Reason of the correction", "Grund der Berichtigung"),
    "day": ("Day", "Tag"),
    # Traffic
    "traffic": ("Traffic", "Traffic"),
    "month": ("Month", "Monat"),
    "show": ("Show", "Zeigen"),
    "no_traffic": ("Nothing was sent in this month.", "In diesem Monat wurde nichts gesendet."),
    "requests": ("Requests", "Anfragen"),
    "bytes": ("Sent", "Gesendet"),
    "aborted": ("Broken off", "Abgebrochen"),
    "kind": ("Kind", "Art"),
    "sent_playlist": ("playlists", "Playlists"),
    "sent_segment": ("film", "Film"),
    "sent_key": ("keys", "Schlüssel"),
    "sent_download": ("downloads", "Downloads"),
    "traffic_hint": (
        "What reached viewers and tests, by the time zone {zone}.",
        "Was Zuschauer und Testzugänge erreicht hat, nach der Zeitzone {zone}.",
    ),
    # Audit
    "audit": ("Audit log", "Protokoll"),
    "audit_hint": (
        "Who changed what, who saw how many passwords, who signed in. No password is ever in it.",
        "Wer was geändert, wie viele Passwörter gesehen und sich angemeldet hat. Nie steht ein"
        " Passwort darin.",
    ),
    "all_kinds": ("All", "Alles"),
    "kind_change": ("Changes", "Änderungen"),
    "kind_view": ("Views", "Einsichten"),
    "kind_access": ("Sign-ins", "Anmeldungen"),
    "one_change": ("change", "Änderung"),
    "one_view": ("view", "Einsicht"),
    "one_access": ("sign-in", "Anmeldung"),
    "no_entries": ("There is no entry.", "Es gibt keinen Eintrag."),
    "at": ("When", "Wann"),
    "who": ("Who", "Wer"),
    "what": ("What", "Was"),
    "before": ("before", "vorher"),
    "nothing": ("nothing", "nichts"),
    "of_passwords_shown": ("passwords seen", "Passwörter gesehen"),
    "of_password_data_exported": (
        "all that is known of a password exported",
        "alles zu einem Passwort Gespeicherte ausgegeben",
    ),
    "of_passwords_added": ("passwords added", "Passwörter hinzugefügt"),
    "of_passwords_revoked": ("passwords revoked", "Passwörter widerrufen"),
    "of_passwords_erased": ("passwords erased", "Passwörter gelöscht"),
    "of_passwords_restricted": ("passwords restricted", "Passwörter eingeschränkt"),
    "of_restriction_reason": ("restricted, because", "eingeschränkt, weil"),
    "of_restrictions_lifted": ("restrictions lifted", "Einschränkungen aufgehoben"),
    "of_password_label_changed": (
        "label of a password changed",
        "Bezeichnung eines Passworts geändert",
    ),
    "of_password_valid_from": ("password valid from", "Passwort gültig ab"),
    "of_password_max_devices": ("devices of a password", "Geräte eines Passworts"),
    "of_password_valid_until": ("password valid until", "Passwort gültig bis"),
    "of_signed_in": ("signed in with", "angemeldet mit"),
    "of_sign_ins_failed": ("sign-ins that failed", "fehlgeschlagene Anmeldungen"),
    "with_password": ("password", "Passwort"),
    "with_code": ("password and code", "Passwort und Code"),
    "with_recovery code": ("password and recovery code", "Passwort und Wiederherstellungscode"),
    "of_person": ("person", "Person"),
    "of_role": ("role", "Rolle"),
    "of_password": ("password of a person changed", "Passwort einer Person geändert"),
    "of_totp": ("authenticator", "Authenticator"),
    "of_let_in_until": ("let in until", "eingelassen bis"),
    "of_sessions_ended": ("signed out everywhere", "überall abgemeldet"),
    "of_stream_sessions_ended": ("all who watched were stopped", "alle Zuschauer getrennt"),
    "of_sessions_of_password_ended": (
        "who watched with a password was stopped",
        "Zuschauer mit einem Passwort getrennt",
    ),
    "of_audit_entries_deleted": (
        "entries of this log deleted, being old",
        "alte Einträge dieses Protokolls gelöscht",
    ),
    "of_password_is_test": ("password for tests", "Passwort zum Testen"),
    "of_sources": ("files of the film", "Dateien des Films"),
    "is_new": ("set", "festgelegt"),
    "is_changed": ("changed", "geändert"),
    "cache_private": ("none but viewers", "nur bei Zuschauern"),
    "cache_shared": ("shared, for a CDN", "gemeinsam, für ein CDN"),
    "who_token": ("API token {name}", "API-Token {name}"),
    "who_server": ("{name}, on the server", "{name}, auf dem Server"),
    "of_token": ("token", "Token"),
    "of_reason": ("Reason", "Grund"),
    "of_scopes": ("rights", "Rechte"),
    "of_title": ("title", "Titel"),
    "of_access": ("access", "Zugang"),
    "of_download": ("download", "Download"),
    "of_max_devices": ("devices", "Geräte"),
    "of_device_mode": ("one device more", "ein Gerät mehr"),
    "of_embed_origins": ("may embed", "dürfen einbetten"),
    "of_allow_no_referrer": ("players that name no site", "Player, die keine Website nennen"),
    "of_embed_lock": ("only on these sites", "nur auf diesen Websites"),
    "of_notice": ("notice", "Hinweis"),
    "of_attendance": ("attendance recorded", "Anwesenheit wird aufgezeichnet"),
    "of_no_skip": ("no skipping ahead", "kein Vorspulen"),
    "of_beacons": ("page says what it plays", "Seite sagt, was sie abspielt"),
    "of_require_visible": ("hidden pages do not count", "verdeckte Seiten zählen nicht"),
    "of_check_minutes": ("minutes for one question", "Minuten je Nachfrage"),
    "of_own_count": ("viewers see what counts", "Zuschauer sehen, was zählt"),
    "of_attendance_purpose": (
        "purpose of attendance accepted, by its version",
        "Zweck der Anwesenheit akzeptiert, nach Fassung",
    ),
    "of_attendance_shown": ("attendance seen", "Anwesenheit gesehen"),
    "of_report_held": ("report held, because", "Bericht festgehalten, weil"),
    "of_report_held_until": ("report held until", "Bericht festgehalten bis"),
    "of_report_of": ("report of", "Bericht von"),
    "of_report_released": ("report held no more", "Bericht nicht mehr festgehalten"),
    "papers": ("Papers of data protection", "Papiere zum Datenschutz"),
    "papers_hint": (
        "Made of the settings as they are now. What no setting tells stands in square brackets, for you to"
        " say. This is no legal advice.",
        "Aus den Einstellungen, wie sie jetzt sind. Was keine Einstellung sagt, steht in eckigen Klammern"
        " und ist von Ihnen zu ergänzen. Das ist keine Rechtsberatung.",
    ),
    "paper_notice": ("Notice to viewers (Art. 13 GDPR)", "Hinweise für Zuschauer (Art. 13 DSGVO)"),
    "paper_record": (
        "Record of processing, of the operator (Art. 30 GDPR)",
        "Verzeichnis der Verarbeitungen, des Betreibers (Art. 30 DSGVO)",
    ),
    "paper_measures": (
        "Technical and organisational measures (Art. 32 GDPR)",
        "Technische und organisatorische Maßnahmen (Art. 32 DSGVO)",
    ),
    "paper_contract": (
        "Annex to the contract with the operator (Art. 28 GDPR)",
        "Anlage zum Vertrag mit dem Betreiber (Art. 28 DSGVO)",
    ),
    "paper_breach": (
        "Fact sheet of a breach, for the operator to fill in (Art. 33 GDPR)",
        "Meldeblatt für eine Verletzung, vom Betreiber auszufüllen (Art. 33 DSGVO)",
    ),
    "attendance_days": ("Days for events of attendance", "Tage für Ereignisse der Anwesenheit"),
    "attendance_reports_days": ("Days for sealed reports", "Tage für versiegelte Berichte"),
    "attendance_daily_reports_days": (
        "Days for reports of a day that the server has sealed by itself",
        "Tage für Berichte eines Tages, die der Server von selbst versiegelt hat",
    ),
    "days_hint": (
        "Events say what was delivered to which password when; older ones are deleted, and reports of"
        " them are made no more. Sealed reports are counted from their last version on. Empty: as this"
        " server has it, which stands in the field.",
        "Ereignisse sagen, was wann an welches Passwort ausgeliefert wurde; ältere werden gelöscht, und"
        " Berichte über sie entstehen nicht mehr. Versiegelte Berichte zählen ab ihrer letzten Fassung."
        " Leer: wie auf diesem Server üblich, was im Feld steht.",
    ),
    "of_attendance_days": ("days for events of attendance", "Tage für Ereignisse der Anwesenheit"),
    "of_attendance_reports_days": ("days for sealed reports", "Tage für versiegelte Berichte"),
    "of_attendance_daily_reports_days": (
        "days for reports of a day that the server has sealed by itself",
        "Tage für Berichte eines Tages, die der Server von selbst versiegelt hat",
    ),
    "of_report_sealed": ("report sealed, version", "Bericht versiegelt, Fassung"),
    "of_event_added": ("event added", "Veranstaltung angelegt"),
    "of_event_changed": ("event changed", "Veranstaltung geändert"),
    "of_event_removed": ("event removed", "Veranstaltung entfernt"),
    "of_streams": ("streams of the event", "Streams der Veranstaltung"),
    "of_windows": ("programme", "Programm"),
    "of_breaks": ("breaks of the programme", "Pausen des Programms"),
    "of_vnr": ("chamber's number (VNR)", "Veranstaltungsnummer (VNR)"),
    "of_rounding": ("how points are rounded", "Rundung der Punkte"),
    "of_threshold_pct": ("least part of the programme, percent", "Mindestanteil, Prozent"),
    "of_least_minutes": ("least time, minutes", "Mindestzeit, Minuten"),
    "of_seal_after_s": (
        "reports are sealed after so many seconds",
        "Berichte werden nach so vielen Sekunden versiegelt",
    ),
    "of_lookahead_s": ("seconds that count ahead", "Sekunden, die im Voraus zählen"),
    "of_bridge_ms": ("milliseconds that are no hole", "Millisekunden, die keine Lücke sind"),
    "of_credit_outage": ("outages are credited apart", "Ausfälle gesondert gutgeschrieben"),
    "of_attendance_signed": ("attendance, leaves exported", "Anwesenheit, Einträge exportiert"),
    "of_attendance_receipts": ("receipts of attendance", "Belege über Anwesenheit"),
    "of_attendance_restored": (
        "log of attendance begun anew, epoch",
        "Protokoll der Anwesenheit neu begonnen, Epoche",
    ),
    "of_checkpoint_mail": ("checkpoints are mailed to", "Prüfpunkte per E-Mail an"),
    "of_checkpoint_url": ("checkpoints are sent to", "Prüfpunkte gehen an"),
    "of_checkpoint_cosigner": ("cosigner of checkpoints", "Mitzeichner der Prüfpunkte"),
    "of_display": ("display name", "Anzeigename"),
    "of_timezone": ("time zone", "Zeitzone"),
    "of_encryption": ("encryption", "Verschlüsselung"),
    "of_removed_at": ("removed", "entfernt"),
    "of_cache": ("cache", "Zwischenspeicher"),
    "of_pace": ("pace, times real time", "Tempo, Vielfaches der Echtzeit"),
    "of_format": ("format", "Format"),
    "of_origins": ("sites with players of their own", "Websites mit eigenem Player"),
    "of_max_viewers": ("viewers at a time", "Zuschauer gleichzeitig"),
    "of_max_rate_bps": ("rate of all, bits a second", "Datenrate aller, Bit/s"),
    "of_session_s": ("longest session, seconds", "längste Sitzung, Sekunden"),
    "of_idle_s": ("idle end, seconds", "Ende bei Untätigkeit, Sekunden"),
    "of_rotate_every": (
        "new keys after so many segments",
        "neue Schlüssel nach so vielen Segmenten",
    ),
    "of_revision": ("revision", "Fassung"),
    "of_segment_duration_ms": (
        "length of segments, milliseconds",
        "Länge der Segmente, Millisekunden",
    ),
    "of_download_rate_bps": ("rate of downloads, bits a second", "Datenrate von Downloads, Bit/s"),
    "of_download_source": ("film to download", "Film zum Herunterladen"),
    "of_opens_at": ("opens", "öffnet"),
    "of_closes_at": ("closes", "schließt"),
    "of_networks": ("networks", "Netze"),
    "of_countries": ("countries", "Länder"),
    "of_countries_denied": ("countries kept out", "ausgeschlossene Länder"),
    "of_allow_unknown_country": ("unknown country", "Land unbekannt"),
    "of_verifier_added": ("key added", "Schlüssel hinzugefügt"),
    "of_verifier_revoked": ("key revoked", "Schlüssel widerrufen"),
    # People
    "people": ("People", "Personen"),
    "people_hint": (
        "Names are yours to choose; none has to be a person's real one.",
        "Namen wählen Sie; keiner muss der wirkliche einer Person sein.",
    ),
    "role": ("Role", "Rolle"),
    "role_tenant-admin": ("Administrator", "Administration"),
    "role_tenant-editor": ("Editor", "Redaktion"),
    "role_tenant-reporter": ("Reporter", "Berichte"),
    "role_dpo": ("Data protection", "Datenschutz"),
    "role_auditor": ("Auditor", "Prüfung"),
    "role_operator": ("Operator", "Betreiber"),
    "role_support": ("Support", "Support"),
    "does_tenant-admin": ("everything", "alles"),
    "does_tenant-editor": (
        "streams, passwords, events, traffic",
        "Streams, Passwörter, Veranstaltungen, Traffic",
    ),
    "does_tenant-reporter": (
        "sees streams, passwords, traffic and reports",
        "sieht Streams, Passwörter, Traffic und Berichte",
    ),
    "does_dpo": (
        "sees streams, passwords and the audit log; erases and restricts, and holds reports",
        "sieht Streams, Passwörter und Protokoll; löscht, und hält Berichte fest",
    ),
    "does_auditor": (
        "sees streams, traffic, the audit log and that of attendance",
        "sieht Streams, Traffic, Protokoll und das der Anwesenheit",
    ),
    "does_operator": (
        "of the server's operator: streams and traffic, no passwords",
        "vom Betreiber des Servers: Streams und Traffic, keine Passwörter",
    ),
    "does_support": (
        "of the server's operator: only while you let it in",
        "vom Betreiber des Servers: nur solange Sie es einlassen",
    ),
    "add_person": ("Add a person", "Person hinzufügen"),
    "name_hint": (
        "Small letters, digits and . _ @ + -",
        "Kleinbuchstaben, Ziffern und . _ @ + -",
    ),
    "add": ("Add", "Hinzufügen"),
    "authenticator": ("Authenticator", "Authenticator"),
    "first_pending": ("has a first password", "hat ein Erstpasswort"),
    "you": ("you", "Sie"),
    "set_role": ("Set role", "Rolle setzen"),
    "reset": ("New first password", "Neues Erstpasswort"),
    "remove": ("Remove", "Entfernen"),
    "remove_totp": ("Lost authenticator", "Authenticator verloren"),
    "let_in": ("Let in for a day", "Für einen Tag einlassen"),
    "let_out": ("Let in no longer", "Nicht mehr einlassen"),
    "let_in_until": ("let in until {when}", "eingelassen bis {when}"),
    "not_let_in": ("not let in", "nicht eingelassen"),
    "remove_title": ("Remove {name}?", "{name} entfernen?"),
    "remove_what": (
        "The person is signed out and cannot sign in again. The name stays in the audit log.",
        "Die Person wird abgemeldet und kann sich nicht mehr anmelden. Der Name bleibt im Protokoll.",
    ),
    "reset_title": ("A new first password for {name}?", "Neues Erstpasswort für {name}?"),
    "reset_what": (
        "The present one is not valid any more, and the person is signed out everywhere.",
        "Das bisherige gilt nicht mehr, und die Person wird überall abgemeldet.",
    ),
    "totp_title": ("Remove the authenticator of {name}?", "Authenticator von {name} entfernen?"),
    "totp_what": (
        "No code is asked for any more until the person sets up a new one. Be sure who asks you for it.",
        "Bis die Person einen neuen einrichtet, wird kein Code mehr verlangt. Seien Sie sicher, wer"
        " Sie darum bittet.",
    ),
    "first_title": ("First password of {name}", "Erstpasswort von {name}"),
    "first_what": (
        "It is shown this once. Hand it over yourself; it has to be changed at the first sign-in,"
        " within 14 days.",
        "Es wird nur jetzt gezeigt. Übergeben Sie es selbst; es muss bei der ersten Anmeldung"
        " binnen 14 Tagen geändert"
        " werden.",
    ),
    "shown_once": ("Shown this once", "Wird nur jetzt gezeigt"),
    "to_people": ("Back to the people", "Zurück zu den Personen"),
    # Tokens
    "tokens": ("API tokens", "API-Tokens"),
    "tokens_hint": (
        "A token lets a program of yours use the API, with the rights that you give it.",
        "Ein Token lässt ein Programm von Ihnen die API benutzen, mit den Rechten, die Sie ihm geben.",
    ),
    "no_tokens": ("There is no token.", "Es gibt kein Token."),
    "add_token": ("Make a token", "Token anlegen"),
    "scopes": ("Rights", "Rechte"),
    "expires": ("Expires", "Läuft ab"),
    "expires_never": ("never", "nie"),
    "expires_days": ("{count} days", "{count} Tage"),
    "lifetime": ("Lifetime", "Laufzeit"),
    "used_on": ("Last used", "Zuletzt benutzt"),
    "never": ("never", "nie"),
    "token_title": ("Token {name}", "Token {name}"),
    "token_what": (
        "It is shown this once. Keep it where your program finds it, and nobody else.",
        "Es wird nur jetzt gezeigt. Legen Sie es dorthin, wo Ihr Programm es findet und sonst niemand.",
    ),
    "to_tokens": ("Back to the tokens", "Zurück zu den Tokens"),
    "revoke_token_title": ("Revoke the token {name}?", "Token {name} widerrufen?"),
    "revoke_token_what": (
        "The program that uses it gets nothing any more, from now on.",
        "Das Programm, das es benutzt, bekommt ab sofort nichts mehr.",
    ),
    # The organisation
    "organisation": ("Organisation", "Organisation"),
    "display": ("Display name", "Anzeigename"),
    "timezone": ("Time zone", "Zeitzone"),
    "timezone_hint": ("As in Europe/Berlin.", "Etwa Europe/Berlin."),
    "notice_hint": (
        "What viewers read before they type a password: plain text, with empty lines between"
        " paragraphs.",
        "Was Zuschauer lesen, bevor sie ein Passwort eingeben: einfacher Text, Leerzeilen zwischen"
        " den Absätzen.",
    ),
    "purpose_accept": (
        "We have read this and accept it for our organisation",
        "Wir haben das gelesen und akzeptieren es für unsere Organisation",
    ),
    "purpose_hint": (
        "Nothing is recorded without it, of no stream; without it from now on, nothing more is.",
        "Ohne das wird nichts aufgezeichnet, bei keinem Stream; nehmen Sie es zurück, dann ab sofort"
        " nichts mehr.",
    ),
    # One's own account
    "account": ("Account", "Konto"),
    "signed_in_as": ("You are {name}, {role}.", "Sie sind {name}, {role}."),
    "change_password": ("Change password", "Passwort ändern"),
    "first_password": (
        "Somebody else has seen your password. Please choose one of your own.",
        "Ihr Passwort hat noch jemand gesehen. Bitte wählen Sie ein eigenes.",
    ),
    "old_password": ("Present password", "Bisheriges Passwort"),
    "new_password": ("New password", "Neues Passwort"),
    "new_password_hint": (
        "12 characters or more. Several words do well.",
        "12 Zeichen oder mehr. Mehrere Wörter sind gut.",
    ),
    "again": ("New password once more", "Neues Passwort noch einmal"),
    "differ": ("The two new passwords differ.", "Die beiden neuen Passwörter sind verschieden."),
    "old_wrong": ("The present password is wrong.", "Das bisherige Passwort ist falsch."),
    "totp_on": (
        "A code is asked for whenever you sign in.",
        "Bei jeder Anmeldung wird ein Code verlangt.",
    ),
    "totp_off": (
        "Your password alone lets you in. An authenticator app makes that two things.",
        "Ihr Passwort allein lässt Sie ein. Mit einer Authenticator-App sind es zwei Dinge.",
    ),
    "totp_set_up": ("Set up an authenticator", "Authenticator einrichten"),
    "totp_scan": (
        "Scan this with your authenticator app, or type the key into it.",
        "Scannen Sie das mit Ihrer Authenticator-App, oder tippen Sie den Schlüssel dort ein.",
    ),
    "totp_picture": ("QR code for the authenticator app", "QR-Code für die Authenticator-App"),
    "totp_key": ("Key", "Schlüssel"),
    "totp_first_code": ("The code that it shows", "Der Code, den sie zeigt"),
    "totp_turn_on": ("Turn on", "Einschalten"),
    "totp_wrong": (
        "This code is not right, or was used before. Please wait for the next one.",
        "Dieser Code stimmt nicht oder wurde schon benutzt. Bitte warten Sie auf den nächsten.",
    ),
    "totp_turn_off": ("Turn off", "Ausschalten"),
    "totp_off_what": (
        "For this your password is needed.",
        "Dafür wird Ihr Passwort gebraucht.",
    ),
    "recovery": ("Recovery codes", "Wiederherstellungscodes"),
    "recovery_what": (
        "The authenticator is on. Each of these codes lets you in once without it. They are shown"
        " this once: print them,"
        " and keep them elsewhere.",
        "Der Authenticator ist eingeschaltet. Jeder dieser Codes lässt Sie einmal ohne ihn ein. Sie"
        " werden nur jetzt"
        " gezeigt: Drucken Sie sie, und bewahren Sie sie woanders auf.",
    ),
    "to_account": ("Back to your account", "Zurück zum Konto"),
    "sessions": ("Where you are signed in", "Wo Sie angemeldet sind"),
    "session_this": ("this browser", "dieser Browser"),
    "session_other": ("another browser", "ein anderer Browser"),
    "seen": ("last used {when}", "zuletzt benutzt {when}"),
    "sign_out_everywhere": ("Sign out everywhere", "Überall abmelden"),
    # Refusals
    "refused": ("This did not work", "Das ging nicht"),
    "refused_403": (
        "You may not do this, or the page was open for too long. Open it anew, or ask an"
        " administrator of your"
        " organisation.",
        "Das dürfen Sie nicht, oder die Seite war zu lange offen. Öffnen Sie sie neu, oder fragen"
        " Sie die Administration"
        " Ihrer Organisation.",
    ),
    "refused_404": (
        "There is nothing here, or no longer.",
        "Hier gibt es nichts oder nichts mehr.",
    ),
    "refused_409": (
        "There is one already, or it has changed meanwhile.",
        "Das gibt es schon, oder es hat sich inzwischen geändert.",
    ),
    "refused_410": (
        "Something of it was erased, so it cannot be had in this form any more.",
        "Davon wurde etwas gelöscht, sodass es das in dieser Form nicht mehr gibt.",
    ),
    "refused_413": ("That was too much at once.", "Das war zu viel auf einmal."),
    "refused_422": (
        "Something of what you entered does not fit.",
        "Etwas von Ihrer Eingabe passt nicht.",
    ),
    "refused_500": (
        "The server made a mistake. It is in its log.",
        "Der Server hat einen Fehler gemacht. Er steht in seinem Protokoll.",
    ),
    "refused_503": (
        "The server cannot do this at present. Please try again in a moment.",
        "Der Server kann das gerade nicht. Bitte versuchen Sie es gleich noch einmal.",
    ),
}
ENGLISH: Final[Mapping[str, str]] = {name: said[0] for name, said in _SAID.items()}
GERMAN: Final[Mapping[str, str]] = {name: said[1] for name, said in _SAID.items()}
TEXTS: Final[Mapping[str, Mapping[str, str]]] = {"en": ENGLISH, "de": GERMAN}
