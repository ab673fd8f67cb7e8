//! Documents in text formats.

use crate::codec::document::Raw;
use crate::error::{Error, ErrorKind};

/// The longest text that is read, 1 MiB.
const MAX_TEXT: usize = 1024 * 1024;

/// Parses a JSON text; `noun` names the document in errors.
pub(crate) fn from_json(text: &str, noun: &str) -> Result<Raw, Error> {
    serde_json::from_str(readable(text)?)
        .map_err(|error| not_valid(noun, "JSON", &error.to_string(), Some((error.line(), error.column()))))
}

/// Like [`from_json`], for TOML.
#[cfg(feature = "toml")]
pub(crate) fn from_toml(text: &str, noun: &str) -> Result<Raw, Error> {
    let text = readable(text)?;
    let raw = toml::from_str(text).map_err(|error| {
        let place = error.span().and_then(|span| text.get(..span.start)).map(|before| {
            let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
            (line, column)
        });
        let what = match place {
            Some((line, column)) => format!("{} at line {line} column {column}", error.message()),
            None => error.message().to_owned(),
        };
        not_valid(noun, "TOML", &what, place)
    });
    raw.map(Raw::with_zeros_kept)
}

/// Like [`from_json`], for one document of YAML 1.2, where `on` and `no` are strings.
#[cfg(feature = "yaml")]
pub(crate) fn from_yaml(text: &str, noun: &str) -> Result<Raw, Error> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        emit_comments: false,
        // A few lines of nested aliases would otherwise take seconds before they are refused.
        budget: serde_saphyr::budget! { max_nodes: 50_000 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 2_000 },
    };
    let raw = serde_saphyr::from_str_with_options(readable(text)?, options).map_err(|error| {
        let place = error.location().map(|location| (location.line() as usize, location.column() as usize));
        not_valid(noun, "YAML", &error.to_string(), place)
    });
    raw.map(Raw::with_zeros_kept)
}

/// Checks the length, and leaves a byte order mark out, which editors write.
fn readable(text: &str) -> Result<&str, Error> {
    if text.len() > MAX_TEXT {
        return Err(Error::document_too_large(text.len(), MAX_TEXT));
    }
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

fn not_valid(noun: &str, format: &str, what: &str, place: Option<(usize, usize)>) -> Error {
    let error = Error::new(ErrorKind::Validation, format!("{noun} is not valid {format}: {what}"));
    match place {
        Some((line, column)) => error.with_detail("line", line).with_detail("column", column),
        None => error,
    }
}
