//! Lines with the time, in colour on a terminal, that fit 80 columns.

use std::io::{IsTerminal, stdout};
use std::time::Instant;

/// The colours of what happens to the servers, of what the library does, and of the rest.
pub(crate) const SERVERS: &str = "31";
pub(crate) const LIBRARY: &str = "34";
pub(crate) const PLAIN: &str = "0";

/// The columns that the time leaves.
const WIDTH: usize = 80 - 8;

pub(crate) fn say(begun: Instant, colour: &str, what: &str) {
    let now = begun.elapsed().as_secs_f64();
    let mut line: String = what.chars().take(WIDTH).collect();
    if what.chars().nth(WIDTH).is_some() {
        line.pop();
        line.push('…');
    }
    if stdout().is_terminal() {
        println!("\u{1b}[{colour}m{now:4.1} s  {line}\u{1b}[0m");
    } else {
        println!("{now:4.1} s  {line}");
    }
}
