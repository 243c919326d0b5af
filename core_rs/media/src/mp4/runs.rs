//! Run-length rows, as in `stts` and `ctts`: a count of samples and a value that each of them has.

/// Iterates over one value a sample.
#[derive(Clone, Debug)]
pub(super) struct Runs<'a> {
    rows: std::slice::Iter<'a, [u8; 8]>,
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    pub(super) fn new(rows: &'a [[u8; 8]]) -> Self {
        Self { rows: rows.iter(), left: 0, value: 0 }
    }

    /// The value of the last run that was begun: what a table that ends early is continued with.
    pub(super) fn current(&self) -> u32 {
        self.value
    }
}

impl Iterator for Runs<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            let &[a, b, c, d, value @ ..] = self.rows.next()?;
            self.left = u32::from_be_bytes([a, b, c, d]);
            if self.left > 0 {
                self.value = u32::from_be_bytes(value);
            }
        }
        self.left -= 1;
        Some(self.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs() {
        let rows = [[0, 0, 0, 2, 0, 0, 0, 7], [0, 0, 0, 0, 0, 0, 0, 9], [0, 0, 0, 1, 0, 0, 1, 0]];
        let mut runs = Runs::new(&rows);
        assert_eq!(runs.by_ref().collect::<Vec<_>>(), [7, 7, 256]);
        assert_eq!((runs.next(), runs.current()), (None, 256));
        assert_eq!(Runs::new(&[]).next(), None);
    }
}
