//! The lines of a media playlist that grow with its film (RFC 8216 4.3.2): one segment after the other.
//!
//! What a playlist is, which tags it has, and what may stand in them is decided where playlists are values. Here is printed what
//! is the same from segment to segment but for numbers, and between them, as it is given, what is not.

use std::fmt::Write;

/// A key tag that changes with the segments: what stands before the period's number and after it, and segments a period, of
/// which 0 keeps the first one.
#[derive(Clone, Debug)]
pub struct KeyLine {
    /// Up to the number.
    pub stem: String,
    /// From there on.
    pub end: String,
    /// Segments a period.
    pub every: usize,
}

/// Lines that stand before a segment.
#[derive(Clone, Debug)]
pub struct Before {
    /// The segment.
    pub segment: usize,
    /// Whole lines.
    pub lines: String,
    /// Whether they have a key tag of their own, so that the segment's has to be said again (RFC 8216 4.3.2.4).
    pub keyed: bool,
}

/// Prints segments `first..` of `durations`, microseconds each; their URIs are `base`, the number, `suffix`. `before` rises, and
/// entries for earlier segments are passed over.
#[must_use]
pub fn segment_lines(
    first: usize,
    durations: &[i64],
    base: &str,
    suffix: &str,
    before: &[Before],
    key: Option<&KeyLine>,
) -> String {
    let mut out = String::with_capacity(durations.len() * (base.len() + suffix.len() + 32));
    let mut before = before.iter().skip_while(|entry| entry.segment < first).peekable();
    for (segment, duration) in durations.iter().enumerate().skip(first) {
        let mut keyed = false;
        while let Some(entry) = before.next_if(|entry| entry.segment == segment) {
            out.push_str(&entry.lines);
            keyed |= entry.keyed;
        }
        if let Some(KeyLine { stem, end, every }) = key
            && (keyed || segment.checked_rem(*every) == Some(0))
        {
            line(&mut out, format_args!("{stem}{}{end}", segment.checked_div(*every).unwrap_or(0)));
        }
        let (seconds, micros) = (duration / 1_000_000, duration % 1_000_000);
        line(&mut out, format_args!("#EXTINF:{seconds}.{micros:06},"));
        line(&mut out, format_args!("{base}{segment}{suffix}"));
    }
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes whatever it is given.
    let _ = writeln!(out, "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_said_where_it_changes_and_after_another_one() {
        let before = |segment, lines: &str, keyed| Before { segment, lines: lines.to_owned(), keyed };
        let before = [before(0, "gone\n", true), before(2, "map\n", true), before(4, "cut\n", false)];
        let key = KeyLine { stem: "key ".to_owned(), end: ".key".to_owned(), every: 3 };
        let durations = [6_000_000, 6_000_001, 5_999_999, 40, 7_000_000];
        let printed = segment_lines(1, &durations, "up/", ".ts", &before, Some(&key));
        assert_eq!(
            printed.lines().collect::<Vec<_>>(),
            [
                "#EXTINF:6.000001,",
                "up/1.ts",
                "map",
                "key 0.key",
                "#EXTINF:5.999999,",
                "up/2.ts",
                "key 1.key",
                "#EXTINF:0.000040,",
                "up/3.ts",
                "cut",
                "#EXTINF:7.000000,",
                "up/4.ts",
            ]
        );
        let kept = KeyLine { every: 0, ..key };
        assert_eq!(segment_lines(1, &durations, "", "", &before, Some(&kept)).matches("key 0.key").count(), 1);
        assert_eq!(segment_lines(9, &durations, "", "", &before, None), "");
    }
}
