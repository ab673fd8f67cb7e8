//! The reason of an outcome: a text that a caller or an endpoint supplies, limited in its length and
//! in its characters.

use std::fmt::{self, Display, Write};
use std::ops::Deref;
use std::sync::Arc;

use serde::Serialize;

use crate::error::is_unprintable;

/// The maximum length in bytes.
const MAX: usize = 256;
const ELLIPSIS: char = '…';

/// At most 256 bytes, without control characters.
// A thin pointer, because the record of every successful call has room for one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Reason(Arc<Box<str>>);

impl Reason {
    /// Limits a text; `None` if it is empty.
    pub(super) fn new(text: &impl Display) -> Option<Self> {
        let mut bounded = Bounded::default();
        if write!(bounded, "{text:#}").is_err() {
            bounded.text.truncate(bounded.kept);
            bounded.text.push(ELLIPSIS);
        }
        (!bounded.text.is_empty()).then(|| Self(Arc::new(bounded.text.into())))
    }
}

impl Deref for Reason {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

/// Collects a text until it is full, so that a long one is not written in whole.
#[derive(Default)]
struct Bounded {
    text: String,
    /// The length up to which the text is kept if it turns out to be too long.
    kept: usize,
}

impl Bounded {
    fn push(&mut self, c: char) -> fmt::Result {
        if self.text.len() + c.len_utf8() > MAX {
            return Err(fmt::Error);
        }
        self.text.push(c);
        Ok(())
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if is_unprintable(c) {
                c.escape_unicode().try_for_each(|c| self.push(c))?;
            } else {
                self.push(c)?;
            }
            if self.text.len() + ELLIPSIS.len_utf8() <= MAX {
                self.kept = self.text.len();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Reason::new(&text).as_deref().unwrap_or_default().to_owned()
    }

    #[test]
    fn a_long_reason_is_cut_between_two_characters() {
        assert_eq!(shown(&"x".repeat(256)), "x".repeat(256));
        assert_eq!(shown(&"x".repeat(257)), format!("{}…", "x".repeat(253)));
        for text in ["é", "€", "🦀", "a€", "\n", "ab\u{202e}"] {
            let shown = shown(&text.repeat(1_000));
            assert!(shown.len() <= MAX && shown.len() > MAX - 12 && shown.ends_with('…'), "{shown}");
        }
        assert_eq!(shown(&"\n".repeat(100)), format!("{}…", "\\u{a}".repeat(50)));
    }

    #[test]
    fn control_characters_are_escaped_and_an_empty_text_is_no_reason() {
        assert_eq!(shown("a\nERROR \u{1b}[2Jforged\u{202e}"), "a\\u{a}ERROR \\u{1b}[2Jforged\\u{202e}");
        assert_eq!(Reason::new(&""), None);
    }

    #[test]
    fn a_text_without_end_is_not_written_in_whole() {
        struct Endless;
        impl Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("and on ")?;
                }
            }
        }
        assert!(Reason::new(&Endless).expect("some of it").len() <= MAX);
    }
}
