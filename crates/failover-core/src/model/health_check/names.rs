//! The names of a health check's fields in errors, and which names headers may have.

use crate::codec::document;

pub(super) const SECTION: &str = "health_check";
pub(super) const MAX_HEADER_NAME: usize = 256;

pub(super) fn field(name: &str) -> String {
    document::path(SECTION, name)
}

pub(super) fn header_path(name: &str) -> String {
    document::path("health_check.headers", name_part(name))
}

/// Returns the part that can be a header's name, so that a header given as
/// `Authorization: Bearer …` does not reach a log.
pub(super) fn name_part(name: &str) -> &str {
    let end = name.find(|c: char| !c.is_ascii() || !is_token_byte(c as u8)).unwrap_or(name.len());
    &name[..end.min(MAX_HEADER_NAME)]
}

pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// RFC 9110, section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
