//! Ordinal numbers for messages.

use std::fmt;

/// Displays a number as 1st, 2nd, 3rd, 4th.
pub(crate) struct Ordinal(pub(crate) u64);

impl fmt::Display for Ordinal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = match (self.0 % 10, self.0 % 100) {
            (_, 11..=13) => "th",
            (1, _) => "st",
            (2, _) => "nd",
            (3, _) => "rd",
            _ => "th",
        };
        write!(f, "{}{ending}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_follows_the_last_two_digits() {
        let shown = [1, 2, 3, 4, 11, 12, 13, 21, 101, 111, 112].map(|number| Ordinal(number).to_string());
        let expected = "1st 2nd 3rd 4th 11th 12th 13th 21st 101st 111th 112th";
        assert_eq!(shown.join(" "), expected);
    }
}
