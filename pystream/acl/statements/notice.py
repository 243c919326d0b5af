"""The tenant's notice to its viewers (Art. 13 GDPR)."""

from __future__ import annotations

from pystream.acl.retention import DataClass
from pystream.acl.statements import shared
from pystream.acl.statements.facts import Facts, titles
from pystream.acl.statements.layout import Paper, Said


def write(paper: Paper, facts: Facts) -> None:
    paper.head(
        (
            f"Datenschutzhinweise zu den Filmen von {facts.name}",
            f"Privacy notice for the films of {facts.name}",
        ),
        1,
    )
    paper.say((f"Stand: {facts.day}", f"As of {facts.day}"))
    _responsible(paper, facts)
    _visit(paper, facts)
    _access(paper, facts)
    if facts.recorded:
        _attendance(paper, facts)
    _recipients(paper, facts)
    paper.head(("Wie lange etwas gespeichert ist", "How long anything is stored"))
    shared.retention(paper, facts, _kept(facts))
    shared.deletion(paper, facts)
    _browser(paper, facts)
    _rights(paper, facts)


def _responsible(paper: Paper, facts: Facts) -> None:
    paper.head(("Wer verantwortlich ist", "Who is responsible"))
    paper.say(
        (
            f"Verantwortlich ist {facts.name} [Anschrift, E-Mail; Datenschutzbeauftragte Person, falls"
            " bestellt].",
            f"The controller is {facts.name} [address, e-mail; data protection officer, where there is one].",
        )
    )


def _visit(paper: Paper, facts: Facts) -> None:
    paper.head(("Was beim Zusehen geschieht", "What happens while you watch"))
    paper.say(
        (
            "Die Filme werden mit der Software pystream ausgeliefert. Sie speichert keine Netzadresse,"
            " keine Angabe zu Browser oder Gerät und keine Seite, von der Sie kommen. Während Sie"
            " zusehen, wird Ihre Netzadresse im Arbeitsspeicher benutzt, um Ihnen den Film zu senden,"
            " und danach verworfen. Wer ein falsches Passwort eingibt, von dessen Adresse bleibt der"
            " vordere Teil einige Minuten im Arbeitsspeicher, damit niemand endlos ausprobieren kann.",
            "The films are delivered with the software pystream. It stores no network address, no kind"
            " of browser or device, and no page that you come from. While you watch, your network"
            " address is used in memory to send you the film, and is dropped then. Of whoever types a"
            " wrong password, the first part of the address is remembered in memory for some minutes,"
            " so that nobody can try without end.",
        )
    )
    if facts.practice.records_attacks:
        german, english = shared.days_later(facts.practice.rules.incidents)
        paper.say(
            (
                "Eine Ausnahme gibt es: Von denen, die den Server angreifen, etwa mit einer Flut von Anfragen"
                " oder durch Ausprobieren von Passwörtern, werden ab dem Erkennen des Angriffs Netzadressen,"
                " Zeiten und Zahlen verschlüsselt gespeichert, um ihn abzuwehren und anzuzeigen (Art. 6 Abs."
                f" 1 lit. f DSGVO). Der Schlüssel wird nach {german} vernichtet, wenn nicht zwei Personen sie"
                " für die Behörden aufbewahren.",
                "There is one exception: of those who attack the server, as by flooding it with requests or"
                " by guessing passwords, network addresses, times and counts are stored encrypted from when"
                " the attack was noticed, to fend it off and to report it (Art. 6(1)(f) GDPR). The key is"
                f" destroyed after {english}, unless two persons keep them for the authorities.",
            )
        )
    if facts.placed:
        paper.say(
            (
                "Einige Filme sind an Netze oder Länder gebunden. Dazu wird Ihre Netzadresse im"
                " Arbeitsspeicher verglichen; gespeichert wird nichts davon.",
                "Some films are bound to networks or countries. For that your network address is compared in"
                " memory; nothing of it is stored.",
            )
        )
    if facts.practice.logs_requests:
        paper.say(
            (
                "Das Protokoll des Betreibers hält je Anfrage Zeit, Art, Film, Ergebnis, Menge und"
                " Dauer fest, nichts über Sie.",
                "The operator's log has of each request its time, kind, film, result, size and duration, and"
                " nothing of you.",
            )
        )
    paper.say(
        (
            "Rechtsgrundlage: [prüfen: Art. 6 Abs. 1 Buchst. b DSGVO, soweit Ihnen der Film geschuldet"
            " ist; sonst Buchst. f, das Interesse, Filme sicher und störungsfrei auszuliefern].",
            "Legal ground: [to be checked: Art. 6(1)(b) GDPR as far as the film is owed to you; else (f), the"
            " interest in delivering films safely and without faults].",
        )
    )


def _access(paper: Paper, facts: Facts) -> None:
    closed = facts.opened_by("shared", "personal", "signed", "external")
    if not closed:
        return
    paper.head(("Was für den Zugang gespeichert wird", "What is stored for access"))
    paper.say(
        (
            "Zu jedem Besuch eines Films, der nicht allen offen steht, speichern wir eine Zufallszahl,"
            " den Film, womit Sie eingelassen wurden, Beginn und Ende sowie die Fassung des Hinweises,"
            " der Ihnen gezeigt wurde.",
            "Of each visit to a film that is not open to everybody we store a random number, the film,"
            " what let you in, begin and end, and the version of the notice that you were shown.",
        )
    )
    ways: list[Said] = []
    if facts.opened_by("shared"):
        ways.append(
            (
                "Gemeinsames Passwort: Es ist für alle dasselbe und sagt nicht, wer Sie sind.",
                "Shared password: it is the same for all, and does not tell who you are.",
            )
        )
    if facts.opened_by("personal"):
        ways.append(
            (
                "Persönliches Passwort: Es ist verschlüsselt gespeichert. Wem wir es gegeben haben,"
                " wissen allein wir, nicht der Betreiber.",
                "Personal password: it is stored encrypted. We alone know whom we gave it, and the"
                " operator does not.",
            )
        )
    if facts.opened_by("signed"):
        ways.append(
            (
                "Link: Unsere Website kann Sie darin mit einer Kennung benennen; sie ist verschlüsselt"
                " gespeichert.",
                "Link: our site may name you in it by an identifier, which is stored encrypted.",
            )
        )
    if facts.opened_by("external"):
        ways.append(
            (
                "Anmeldung auf unserer Website: Sie sagt, dass Sie zusehen dürfen, und kann Sie mit"
                " einer Kennung benennen; sie ist verschlüsselt gespeichert.",
                "Sign-in on our site: it says that you may watch, and may name you by an identifier, which is"
                " stored encrypted.",
            )
        )
        if facts.practice.asks_with_address:
            ways.append(
                (
                    "Wird unsere Website gefragt, ob Sie zusehen dürfen, so erfährt sie den vorderen Teil"
                    " Ihrer Netzadresse.",
                    "Where our site is asked whether you may watch, it is told the first part of your network"
                    " address.",
                )
                if facts.practice.asks_with_address == "truncated"
                else (
                    "Wird unsere Website gefragt, ob Sie zusehen dürfen, so erfährt sie Ihre Netzadresse.",
                    "Where our site is asked whether you may watch, it is told your network address.",
                )
            )
    paper.list(ways)


def _attendance(paper: Paper, facts: Facts) -> None:
    of, named = paper.language, titles(facts.recorded, paper.language)
    paper.head(("Aufzeichnung der Anwesenheit", "Recording of attendance"))
    paper.say(
        (
            f"Zu diesen Filmen wird Ihre Anwesenheit aufgezeichnet: {named}. Gespeichert wird, wann"
            " welcher Teil des Films, seine Abspielliste, sein Schlüssel oder seine Datei an welches"
            " Passwort oder welche Kennung ausgeliefert wurde. Zweck ist, Ihre Teilnahme zu"
            " bestätigen. Sie werden darauf hingewiesen, bevor etwas aufgezeichnet wird.",
            f"Of these films your attendance is recorded: {named}. It is stored when which part of the"
            " film, its playlist, its key or its file was delivered to which password or identifier."
            " The purpose is to confirm your attendance. You are told before anything is recorded.",
        )
    )
    if facts.with_beacons:
        named = titles(facts.with_beacons, of)
        paper.say(
            (
                f"Bei {named} sagt die Seite dem Server außerdem alle zehn Sekunden, ob der Film läuft,"
                " wo, wie schnell, und ob die Seite verdeckt ist. Angerechnet wird nur, was lief."
                " [Prüfen: § 25 TDDDG; Absatz 2 Nummer 2, soweit Sie die Bescheinigung ausdrücklich"
                " wünschen, sonst Einwilligung.]",
                f"Of {named} the page also tells the server every ten seconds whether the film plays,"
                " where, how fast, and whether the page is hidden. Only what was playing counts. [To"
                " be checked: § 25(2) no. 2 TDDDG as far as you expressly ask for the certificate;"
                " else consent.]",
            )
        )
    for stream in facts.with_checks:
        minutes, named = stream.settings.check_minutes, titles([stream], of)
        paper.say(
            (
                f"Bei {named} fragt die Seite zu einem zufälligen Zeitpunkt, einmal je {minutes}"
                " Minuten, ob Sie da sind. Gespeichert wird, wann gefragt und ob binnen zwei Minuten"
                " geantwortet wurde.",
                f"Of {named} the page asks at a random moment, once in {minutes} minutes, whether you"
                " are there. It is stored when it has asked, and whether there was an answer within"
                " two minutes.",
            )
        )
    if facts.without_skipping:
        named = titles(facts.without_skipping, of)
        paper.say(
            (
                f"Bei {named} kann nicht vorgespult werden. Dazu wird gespeichert, wie weit mit Ihrem"
                " Passwort gesehen wurde.",
                f"In {named} nobody can skip ahead. For that it is stored how far was watched with your"
                " password.",
            )
        )
    paper.say(
        (
            "Die Aufzeichnung ist verschlüsselt. Versiegelte Berichte nennen je Passwort die Zeiten"
            " und deren Summe. Hashwerte der Ereignisse bleiben in einem Protokoll, damit niemand"
            " etwas hinzufügen oder ändern kann; ist das Ereignis gelöscht, sagen sie nichts mehr über"
            " Sie. Rechtsgrundlage: [prüfen: Art. 6 Abs. 1 Buchst. b oder c DSGVO].",
            "What is recorded is encrypted. Sealed reports have of each password the times and their"
            " sum. Hashes of the events stay in a log, so that nobody can add or change any; once the"
            " event is deleted, they tell nothing of you. Legal ground: [to be checked: Art. 6(1)(b)"
            " or (c) GDPR].",
        )
    )


def _recipients(paper: Paper, facts: Facts) -> None:
    german, english = shared.processor(facts)
    place = facts.practice.location
    paper.head(("Wer etwas erhält", "Who receives anything"))
    paper.say(
        (
            "Den Server betreibt in unserem Auftrag"
            f" {german}{f', an diesem Ort: {place}' if place else ''}. Weitere Auftragnehmer:",
            "The server is run on our behalf by"
            f" {english}{f', in this place: {place}' if place else ''}. Further processors:",
        )
    )
    shared.sub_processors(paper, facts)
    if facts.of_cdn:
        named = titles(facts.of_cdn, paper.language)
        paper.say(
            (
                f"Verschlüsselte Teile von {named} kann ein Verteilnetz (CDN) ausliefern [welches]; es"
                " erfährt dabei Ihre Netzadresse.",
                f"Encrypted parts of {named} may be delivered by a content delivery network [which"
                " one]; it gets to know your network address then.",
            )
        )
    if facts.recorded:
        paper.say(
            (
                "Bescheinigungen geben wir weiter an: [Kammer, Veranstalter].",
                "We pass certificates on to: [chamber, organiser].",
            )
        )


def _kept(facts: Facts) -> list[DataClass]:
    kept = [DataClass.TRAFFIC_HOURS]
    if facts.opened_by("shared", "personal", "signed", "external"):
        kept = [DataClass.SESSIONS, *kept]
    if facts.opened_by("shared", "personal"):
        kept += [DataClass.EXPIRED_PASSWORDS, DataClass.REVOKED_PASSWORDS]
    if facts.opened_by("signed", "external"):
        kept += [DataClass.NAMED_VIEWERS]
    if facts.recorded:
        kept += [DataClass.ATTENDANCE, DataClass.ATTENDANCE_REPORTS]
        kept += [DataClass.ATTENDANCE_DAILY_REPORTS]
    return kept


def _browser(paper: Paper, facts: Facts) -> None:
    paper.head(("In Ihrem Browser", "In your browser"))
    paper.say(
        (
            "Es werden keine Cookies gesetzt, und Ihr Browser wird zu keinem Dritten geschickt. Er merkt sich"
            " selbst, wie weit Sie gesehen haben, was Sie im Player abschalten können, und bis der Tab"
            " geschlossen wird, den Link Ihrer Sitzung.",
            "No cookies are set, and your browser is sent to no third party. It remembers by itself"
            " how far you have watched, which you can switch off in the player, and your session's"
            " link until the tab is closed.",
        )
    )
    if facts.downloaded:
        named = titles(facts.downloaded, paper.language)
        paper.say(
            (
                f"Als Datei herunterladen lässt sich: {named}. Ist zu dem Film Ihre Anwesenheit"
                " aufgezeichnet, so auch, dass Sie das begonnen haben.",
                f"Can be downloaded as a file: {named}. Where your attendance of the film is recorded,"
                " so is that you have begun to.",
            )
        )


def _rights(paper: Paper, facts: Facts) -> None:
    paper.head(("Ihre Rechte", "Your rights"))
    paper.say(
        (
            "Sie haben das Recht auf Auskunft (Art. 15 DSGVO), Berichtigung (Art. 16), Löschung (Art."
            " 17), Einschränkung (Art. 18), Datenübertragbarkeit (Art. 20) und Widerspruch (Art. 21),"
            " und Sie können sich bei einer Aufsichtsbehörde beschweren (Art. 77). Wenden Sie sich an"
            " uns und nennen Sie Ihr Passwort: Wir können dann alles ausgeben oder tilgen, was dazu"
            " gespeichert ist. Steht es in einem versiegelten Bericht, den wir aufbewahren müssen, so"
            " tilgen wir es erst, wenn diese Pflicht endet. Eine Entscheidung allein durch einen"
            " Rechner (Art. 22) findet nicht statt.",
            "You have the right of access (Art. 15 GDPR), rectification (Art. 16), erasure (Art. 17),"
            " restriction (Art. 18), data portability (Art. 20) and to object (Art. 21), and may lodge"
            " a complaint with a supervisory authority (Art. 77). Turn to us and name your password:"
            " then we can hand out or erase all that is stored of it. Where a sealed report that we"
            " have to keep names it, we erase it when that duty ends. There is no decision by a"
            " machine alone (Art. 22).",
        )
    )
    paper.say(
        (
            "Sie müssen keine dieser Angaben machen; ohne sie lässt sich der Film nicht öffnen oder"
            " die Teilnahme nicht bestätigen.",
            "You need not give any of this; without it the film cannot be opened, or attendance not be"
            " confirmed.",
        )
    )
