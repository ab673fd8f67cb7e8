//! The formats of a file.

use std::path::Path;

use failover_core::Error;
use serde_json::Value;

/// The format of a file, by the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Toml,
    Yaml,
    Json,
}

impl Format {
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "toml" => Ok(Self::Toml),
            "yaml" | "yml" => Ok(Self::Yaml),
            "json" => Ok(Self::Json),
            _ => Err(Error::invalid(
                "path",
                path.display(),
                "a name that ends with .toml, .yaml, .yml or .json",
            )),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Json => "JSON",
        }
    }

    /// Parses a text. The message of the error ends with the line and the column.
    pub(crate) fn parse(self, text: &str) -> Result<Value, String> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let (what, place) = match self {
            Self::Toml => match toml::from_str(text) {
                Ok(value) => return Ok(value),
                Err(error) => {
                    let place = error.span().and_then(|span| place(text, span.start));
                    (error.message().to_owned(), place)
                }
            },
            Self::Yaml => match serde_saphyr::from_str_with_options(text, yaml()) {
                Ok(value) => return Ok(value),
                // Its text ends with the place.
                Err(error) => (error.to_string(), None),
            },
            Self::Json => match serde_json::from_str(text) {
                Ok(value) => return Ok(value),
                // Its text ends with the place.
                Err(error) => (error.to_string(), None),
            },
        };
        let place =
            place.map(|(line, column)| format!(" at line {line} column {column}")).unwrap_or_default();
        Err(format!("it is not valid {}: {what}{place}", self.name()))
    }
}

/// `on` and `no` are strings, as in YAML 1.2; a few lines of nested aliases are refused at once.
fn yaml() -> serde_saphyr::Options {
    serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        emit_comments: false,
        budget: serde_saphyr::budget! { max_nodes: 1_000_000 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 2_000 },
    }
}

fn place(text: &str, at: usize) -> Option<(usize, usize)> {
    let before = text.get(..at)?;
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((line, column))
}
