//! Lines about what happens.

use std::io::{IsTerminal, stdout};

/// Prints a line with the seconds that have passed, in a colour of ANSI (`31` is red) on a terminal.
pub fn say(seconds: f64, colour: &str, what: &str) {
    if stdout().is_terminal() {
        println!("\u{1b}[{colour}m{seconds:4.1} s  {what}\u{1b}[0m");
    } else {
        println!("{seconds:4.1} s  {what}");
    }
}
