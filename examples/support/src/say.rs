//! Lines about what happens.

use std::io::{IsTerminal, stdout};

/// The columns of a terminal that the time leaves.
const WIDTH: usize = 80 - 8;

/// Prints a line with the seconds that have passed. On a terminal it has a colour of ANSI (`31` is red) and
/// fits 80 columns.
pub fn say(seconds: f64, colour: &str, what: &str) {
    if stdout().is_terminal() {
        println!("\u{1b}[{colour}m{seconds:4.1} s  {}\u{1b}[0m", cut(what));
    } else {
        println!("{seconds:4.1} s  {what}");
    }
}

fn cut(what: &str) -> String {
    match what.char_indices().nth(WIDTH) {
        None => what.to_owned(),
        Some(_) => what.chars().take(WIDTH - 1).chain(['…']).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_and_says_that_it_was_longer() {
        assert_eq!(cut(&"ä".repeat(WIDTH)), "ä".repeat(WIDTH));
        assert_eq!(cut(&"ä".repeat(WIDTH + 1)), "ä".repeat(WIDTH - 1) + "…");
    }
}
