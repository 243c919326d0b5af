//! Run-length rows, as in `stts` and `ctts`: a count of samples and a value that each of them has.

/// The runs of at most `limit` samples, as `(count, value)`; what the rows say beyond is cut off.
pub(super) fn runs(rows: &[[u8; 8]], limit: u32) -> impl Iterator<Item = (u32, u32)> + '_ {
    let mut left = limit;
    rows.iter().map_while(move |&[a, b, c, d, value @ ..]| {
        if left == 0 {
            return None;
        }
        let count = u32::from_be_bytes([a, b, c, d]).min(left);
        left -= count;
        Some((count, u32::from_be_bytes(value)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_off_at_the_limit() {
        let rows =
            [[0, 0, 0, 2, 0, 0, 0, 7], [0, 0, 0, 0, 0, 0, 0, 9], [0xff, 0, 0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0, 0, 0]];
        let cut = |limit| runs(&rows, limit).collect::<Vec<_>>();
        assert_eq!(cut(5), [(2, 7), (0, 9), (3, 256)]);
        assert_eq!(cut(1), [(1, 7)]);
        assert_eq!(cut(0), []);
        assert_eq!(runs(&rows[..1], 9).collect::<Vec<_>>(), [(2, 7)]);
    }
}
