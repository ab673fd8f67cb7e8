//! Documents in text formats.

use crate::codec::document::Raw;
use crate::error::{Error, ErrorKind};

/// Parses a JSON text; `noun` names the document in errors.
pub(crate) fn from_json(text: &str, noun: &str) -> Result<Raw, Error> {
    serde_json::from_str(text)
        .map_err(|error| not_valid(noun, "JSON", &error.to_string(), Some((error.line(), error.column()))))
}

/// Like [`from_json`], for TOML.
#[cfg(feature = "toml")]
pub(crate) fn from_toml(text: &str, noun: &str) -> Result<Raw, Error> {
    toml::from_str(text).map_err(|error| {
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
    })
}

/// Like [`from_json`], for one document of YAML 1.2, where `on` and `no` are strings.
#[cfg(feature = "yaml")]
pub(crate) fn from_yaml(text: &str, noun: &str) -> Result<Raw, Error> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        emit_comments: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let place = error.location().map(|location| (location.line() as usize, location.column() as usize));
        not_valid(noun, "YAML", &error.to_string(), place)
    })
}

fn not_valid(noun: &str, format: &str, what: &str, place: Option<(usize, usize)>) -> Error {
    let error = Error::new(ErrorKind::Validation, format!("{noun} is not valid {format}: {what}"));
    match place {
        Some((line, column)) => error.with_detail("line", line).with_detail("column", column),
        None => error,
    }
}
