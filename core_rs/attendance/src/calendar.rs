//! The civil days of a time zone.
//!
//! A day is from the first instant with its local date to the first one of the next: so it has 23, 24 or 25 hours, and
//! where clocks go back over midnight, the second half hour before it belongs to the day after. Dates that a zone has
//! skipped (Samoa, 30 December 2011) are no days.

use crate::limits::{FIRST_INSTANT, LAST_CREDIT};

const DAY: i64 = 86_400_000;

/// From when on local time is how much ahead of UTC, both in ms; ascending. The first one holds before, too, and where there
/// is none it is UTC.
pub type Offsets = Vec<(i64, i64)>;

/// Where days begin, over all instants that credit can be of. It is as small as its zone, since each of many ledgers has one.
#[derive(Clone, Debug)]
pub(crate) struct Calendar {
    stretches: Vec<Stretch>,
}

/// Days that follow on each other while local time is as much ahead of UTC; dates are days since 1970-01-01.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    /// When the first one begins, which may be later than its midnight.
    start: i64,
    first: i64,
    last: i64,
    offset: i64,
}

impl Stretch {
    fn begin(&self, date: i64) -> i64 {
        self.start.max(date * DAY - self.offset)
    }
}

impl Calendar {
    pub(crate) fn new(offsets: &Offsets) -> Self {
        let mut stretches = Vec::new();
        let offsets: &[_] = if offsets.is_empty() { &[(0, 0)] } else { offsets };
        // A zone may be a day from UTC, and have gone back by one.
        let (begin, end) = (FIRST_INSTANT - 4 * DAY, LAST_CREDIT + 4 * DAY);
        let mut latest = i64::MIN;
        for (index, &(since, offset)) in offsets.iter().enumerate() {
            let since = if index == 0 { begin } else { since.max(begin) };
            let until = offsets.get(index + 1).map_or(end, |next| next.0.min(end));
            if since >= until {
                continue;
            }
            let first = (since + offset).div_euclid(DAY).max(latest.saturating_add(1));
            let last = (until - 1 + offset).div_euclid(DAY);
            if first <= last {
                stretches.push(Stretch { start: since.max(first * DAY - offset), first, last, offset });
                latest = last;
            }
        }
        Self { stretches }
    }

    /// The day that an instant belongs to, and in which stretch it is.
    fn find(&self, instant: i64) -> (usize, i64) {
        let index = self.stretches.partition_point(|stretch| stretch.start <= instant).saturating_sub(1);
        let stretch = &self.stretches[index];
        (index, (instant + stretch.offset).div_euclid(DAY).clamp(stretch.first, stretch.last))
    }

    /// The day that an instant belongs to.
    pub(crate) fn day(&self, instant: i64) -> i32 {
        self.find(instant).1 as i32
    }

    /// The days of [from, to), each with its own first instant and the next one's.
    pub(crate) fn days(&self, from: i64, to: i64) -> impl Iterator<Item = (i32, i64, i64)> {
        let (mut index, mut date) = self.find(from);
        std::iter::from_fn(move || {
            let (day, start) = (date, self.stretches[index].begin(date));
            if day < self.stretches[index].last {
                date += 1;
            } else {
                date = self.stretches.get(index + 1)?.first;
                index += 1;
            }
            (start < to).then(|| (day as i32, start, self.stretches[index].begin(date)))
        })
    }
}

/// A date as ISO 8601 writes it, of days since 1970-01-01: the proleptic Gregorian calendar, in years from March.
pub fn iso(day: i32) -> String {
    let days = i64::from(day) + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!("{:04}-{month:02}-{of_month:02}", era * 400 + year + carry)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;

    fn days(offsets: &[(i64, i64)], from: i64, to: i64) -> Vec<(String, i64, i64)> {
        let calendar = Calendar::new(&offsets.to_vec());
        calendar.days(from, to).map(|(day, start, end)| (iso(day), start, end)).collect()
    }

    fn named(date: &str, start: i64, end: i64) -> (String, i64, i64) {
        (date.to_owned(), start, end)
    }

    #[test]
    fn dates() {
        for (day, date) in [(0, "1970-01-01"), (-1, "1969-12-31"), (11_016, "2000-02-29"), (47_540, "2100-02-28")] {
            assert_eq!(iso(day), date);
        }
        assert_eq!(iso(47_541), "2100-03-01");
    }

    #[test]
    fn days_of_a_zone_that_never_changes() {
        let ahead = [(0, 2 * HOUR)];
        assert_eq!(days(&ahead, -2 * HOUR, 22 * HOUR), [named("1970-01-01", -2 * HOUR, 22 * HOUR)]);
        assert_eq!(days(&ahead, 22 * HOUR - 1, 22 * HOUR + 1).len(), 2);
        assert_eq!(Calendar::new(&ahead.to_vec()).day(22 * HOUR), 1);
        assert_eq!(Calendar::new(&ahead.to_vec()).day(22 * HOUR - 1), 0);
    }

    #[test]
    fn days_of_23_and_25_hours() {
        let spring = [(0, 0), (DAY + HOUR, HOUR)];
        assert_eq!(days(&spring, DAY, DAY + 1), [named("1970-01-02", DAY, 2 * DAY - HOUR)]);
        let autumn = [(0, HOUR), (DAY + HOUR, 0)];
        assert_eq!(days(&autumn, DAY, DAY + 1), [named("1970-01-02", DAY - HOUR, 2 * DAY)]);
    }

    #[test]
    fn clocks_that_go_back_over_midnight() {
        // At 00:01 of the second to 23:01 of the first: the second has begun and stays.
        let offsets = [(0, 0), (DAY + 60_000, -HOUR)];
        let wanted = [named("1970-01-01", 0, DAY), named("1970-01-02", DAY, 2 * DAY + HOUR)];
        assert_eq!(days(&offsets, 0, DAY + 1), wanted);
        // Exactly at midnight: the second has not begun.
        let offsets = [(0, 0), (DAY, -HOUR)];
        let wanted = [named("1970-01-01", 0, DAY + HOUR), named("1970-01-02", DAY + HOUR, 2 * DAY + HOUR)];
        assert_eq!(days(&offsets, 0, DAY + HOUR + 1), wanted);
    }

    #[test]
    fn a_date_that_is_left_out() {
        let offsets = [(0, -11 * HOUR), (5 * DAY + 11 * HOUR, 13 * HOUR)];
        let made: Vec<_> = days(&offsets, 4 * DAY + 11 * HOUR, 6 * DAY).into_iter().map(|day| day.0).collect();
        assert_eq!(made, ["1970-01-05", "1970-01-07"]);
    }

    #[test]
    fn it_is_as_small_as_its_zone() {
        let offsets: Vec<_> = (0..260).map(|half| (half * 182 * DAY, half % 2 * HOUR)).collect();
        let calendar = Calendar::new(&offsets);
        assert_eq!(calendar.stretches.len(), offsets.len());
        let all: Vec<_> = calendar.days(FIRST_INSTANT, LAST_CREDIT).collect();
        assert!(all.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0 && pair[0].2 == pair[1].1));
        assert!(all.iter().all(|&(day, start, end)| calendar.day(start) == day && calendar.day(end - 1) == day));
    }

    #[test]
    fn all_credit_has_a_day() {
        let calendar = Calendar::new(&vec![(0, -DAY)]);
        assert_eq!(calendar.days(LAST_CREDIT - 1, LAST_CREDIT).count(), 1);
        assert_eq!(calendar.day(FIRST_INSTANT), -1);
    }
}
