//! What numbers of an event may be at most, and what follows from it for all others.

/// Instants of events are from here...
pub const FIRST_INSTANT: i64 = 0;

/// ...to here, the beginning of the year 2100 (UTC).
pub const LAST_INSTANT: i64 = 4_102_444_800_000;

/// Options of seconds are below this, in ms: nine digits and three behind the point.
pub const LONGEST_OPTION: i64 = 1_000_000_000_000;

/// Credit ends at most the look-ahead after the segment that earned it.
pub(crate) const LAST_CREDIT: i64 = LAST_INSTANT + LONGEST_OPTION;

/// Every other integer lies within plus and minus this: what a double holds exactly.
pub const LARGEST_INTEGER: i64 = (1 << 53) - 1;

/// The longest media that one segment may claim.
pub const LONGEST_SEGMENT: i64 = 600_000;
