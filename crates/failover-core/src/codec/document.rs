//! A configuration document as received, before its values are checked.
//!
//! Reading through an untyped tree instead of typed serde fields allows an error to name the field,
//! show the value and say what is expected, and allows Go's zero values to be read as absent.

pub(crate) mod number;
pub(crate) mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::codec::{duration, range};
use crate::error::{Error, ErrorKind};

pub(crate) use text::from_json;
#[cfg(feature = "toml")]
pub(crate) use text::from_toml;
#[cfg(feature = "yaml")]
pub(crate) use text::from_yaml;

/// One value. The type has no `Debug`, because a value can be a secret.
#[derive(Clone)]
pub(crate) enum Raw {
    Null,
    Bool(bool),
    Whole(i128),
    /// A whole 0 in a format that the Go package does not write.
    Zero,
    Float(f64),
    Text(String),
    List(Vec<Raw>),
    Object(BTreeMap<String, Raw>),
}

impl Raw {
    /// Returns the kind of the value, for errors about values that must not be shown.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Whole(_) | Self::Zero | Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }

    /// Converts the value to JSON, for metadata. Returns an error for a number that JSON cannot
    /// represent.
    pub(crate) fn into_json(self, field: &str) -> Result<Value, Error> {
        Ok(match self {
            Self::Null => Value::Null,
            Self::Bool(value) => value.into(),
            Self::Zero => 0.into(),
            Self::Whole(value) => match (i64::try_from(value), u64::try_from(value)) {
                (Ok(value), _) => value.into(),
                (_, Ok(value)) => value.into(),
                _ => return Err(Error::invalid(field, value, "a whole number of at most 64 bits")),
            },
            Self::Float(value) => {
                let number = serde_json::Number::from_f64(value);
                number.map(Value::Number).ok_or_else(|| Error::invalid(field, value, "a finite number"))?
            }
            Self::Text(value) => value.into(),
            Self::List(values) => {
                Value::Array(values.into_iter().map(|v| v.into_json(field)).collect::<Result<_, _>>()?)
            }
            Self::Object(values) => Value::Object(
                values
                    .into_iter()
                    .map(|(key, v)| v.into_json(field).map(|v| (key, v)))
                    .collect::<Result<_, _>>()?,
            ),
        })
    }
}

/// Displays the value for an error message; only the kind of an object or array is shown.
impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Whole(value) => value.fmt(f),
            Self::Zero => f.write_str("0"),
            Self::Float(value) => fmt::Debug::fmt(value, f),
            Self::Text(value) => write!(f, "\"{value}\""),
            Self::Null | Self::List(_) | Self::Object(_) => f.write_str(self.kind()),
        }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

/// The `Deserialize` implementation of all types that are read through [`Raw`].
pub(crate) fn deserialize<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl FnOnce(Raw) -> Result<T, Error>,
) -> Result<T, D::Error> {
    read(Raw::deserialize(deserializer)?.read_by::<D>()).map_err(de::Error::custom)
}

/// Returns the section and the key if the error is about an unknown key.
pub(crate) fn unknown_key_of(error: &Error) -> Option<(&str, &str)> {
    let detail = |name| error.details().get(name).and_then(Value::as_str);
    Some((detail("section")?, detail("key")?))
}

/// The fields of an object after its keys have been checked.
pub(crate) struct Document {
    section: &'static str,
    fields: BTreeMap<String, Raw>,
}

impl Document {
    /// Opens an object and checks its keys. `section` prefixes each field's name unless it is
    /// empty; `noun` names the whole in errors.
    pub(crate) fn open(raw: Raw, section: &'static str, noun: &str, known: &[&str]) -> Result<Self, Error> {
        let Raw::Object(fields) = raw else {
            let field = if section.is_empty() { noun } else { section };
            return Err(Error::invalid(field, raw.kind(), "an object"));
        };
        if let Some(key) = fields.keys().find(|key| !known.contains(&key.as_str())) {
            return Err(unknown_key(section, noun, key, known));
        }
        Ok(Self { section, fields })
    }

    /// Returns the full name of a field, as errors show it.
    pub(crate) fn path(&self, name: &str) -> String {
        path(self.section, name)
    }

    /// Whether there is a value; `null` counts as absent.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|raw| !matches!(raw, Raw::Null))
    }

    /// Removes and returns a value; `null` counts as absent.
    pub(crate) fn take(&mut self, name: &str) -> Option<Raw> {
        self.fields.remove(name).filter(|raw| !matches!(raw, Raw::Null))
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Raw::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(Error::invalid(&self.path(name), other, "true or false")),
        }
    }

    /// Removes and returns a whole number; the 0 of an unset one counts as absent if it is out of range.
    pub(crate) fn whole(&mut self, name: &str, range: &RangeInclusive<u32>) -> Result<Option<u32>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(raw) if raw.is_unset() && !range.contains(&0) => Ok(None),
            Some(raw) => whole(&self.path(name), &raw, range).map(Some),
        }
    }

    /// Removes and returns a number; the 0 of an unset one counts as absent if it is out of range.
    pub(crate) fn number(&mut self, name: &str, range: &RangeInclusive<f64>) -> Result<Option<f64>, Error> {
        let field = self.path(name);
        let value = match self.take(name) {
            None => return Ok(None),
            Some(raw) if raw.is_unset() && !range.contains(&0.0) => return Ok(None),
            Some(Raw::Float(value)) => value,
            Some(raw) => match raw.as_whole() {
                Some(value) => value as f64,
                None => return Err(Error::invalid(&field, raw, &range::number_wanted(range))),
            },
        };
        range::number(&field, value, range).map(Some)
    }

    /// Removes and returns a duration, given as text or as whole nanoseconds. The 0 of an unset one
    /// counts as absent; `"0s"` is a zero duration.
    pub(crate) fn duration(
        &mut self,
        name: &str,
        range: &RangeInclusive<Duration>,
    ) -> Result<Option<Duration>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(raw) if raw.is_unset() => Ok(None),
            Some(raw) => span(&self.path(name), &raw, range).map(Some),
        }
    }

    /// Removes and returns a text; an empty one counts as absent.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Error> {
        match self.take(name) {
            None => Ok(None),
            Some(Raw::Text(text)) => Ok(Some(text).filter(|text| !text.is_empty())),
            Some(other) => Err(Error::invalid(&self.path(name), other, "text")),
        }
    }

    /// Removes and returns an object; an absent one is empty.
    pub(crate) fn object(&mut self, name: &str) -> Result<BTreeMap<String, Raw>, Error> {
        match self.take(name) {
            None => Ok(BTreeMap::new()),
            Some(Raw::Object(values)) => Ok(values),
            Some(other) => Err(Error::invalid(&self.path(name), other.kind(), "an object")),
        }
    }
}

/// Returns `section.name`, or the name alone. A key from the input is cut to a length that fits a
/// log line.
pub(crate) fn path(section: &str, name: &str) -> String {
    let name = cut(name);
    if section.is_empty() { name } else { format!("{section}.{name}") }
}

/// Checks one whole number.
pub(crate) fn whole(field: &str, raw: &Raw, range: &RangeInclusive<u32>) -> Result<u32, Error> {
    let value = raw.as_whole().and_then(|value| u32::try_from(value).ok());
    value
        .filter(|value| range.contains(value))
        .ok_or_else(|| Error::invalid(field, raw, &range::whole_wanted(range)))
}

/// Checks one duration.
pub(crate) fn span(field: &str, raw: &Raw, range: &RangeInclusive<Duration>) -> Result<Duration, Error> {
    let value = match raw {
        Raw::Text(text) => duration::parse(text),
        _ => raw.as_whole().and_then(duration::from_nanos),
    };
    let value = value.filter(|value| range.contains(value));
    value.ok_or_else(|| {
        let wanted = range::duration_wanted(range);
        let wanted = match raw {
            Raw::Text(_) => format!("{wanted}, such as \"30s\", \"250ms\" or \"1m30s\""),
            _ => format!("{wanted}, such as \"30s\" (a bare number is nanoseconds)"),
        };
        Error::invalid(field, raw, &wanted)
    })
}

/// Lists the words that a field accepts, for an error.
pub(crate) fn one_of(words: &[&str]) -> String {
    format!("one of {}", words.join(", "))
}

fn unknown_key(section: &str, noun: &str, key: &str, known: &[&str]) -> Error {
    let nearest = known.iter().map(|name| (distance(key, name), *name)).min();
    let hint = match nearest {
        Some((1..=2, name)) => format!("did you mean {name}?"),
        _ => format!("the {noun} knows {}", known.join(", ")),
    };
    let field = path(section, key);
    Error::new(ErrorKind::Validation, format!("{field}: unknown key; {hint}"))
        .with_detail("field", field)
        .with_detail("section", section)
        .with_detail("key", key)
}

/// Returns the edit distance of two keys.
fn distance(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 8 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn cut(text: &str) -> String {
    const SHOWN: usize = 80;
    match text.char_indices().nth(SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

struct RawVisitor;

/// The key that `serde_json` uses for a number if a crate of the program enables
/// `arbitrary_precision`.
const ARBITRARY_NUMBER: &str = "$serde_json::private::Number";

/// The key that `toml` uses for a date, which is read as text.
const TOML_DATETIME: &str = "$__toml_private_datetime";

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        Raw::deserialize(deserializer)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Whole(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Whole(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Whole(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = access.next_element()? {
            values.push(value);
        }
        Ok(Raw::List(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut values = BTreeMap::new();
        while let Some(key) = access.next_key::<String>()? {
            if key == ARBITRARY_NUMBER {
                return arbitrary_number(&access.next_value::<String>()?);
            }
            if key == TOML_DATETIME {
                return access.next_value::<String>().map(Raw::Text);
            }
            let value = access.next_value()?;
            if values.insert(key.clone(), value).is_some() {
                return Err(de::Error::custom(format_args!("duplicate key \"{}\"", cut(&key))));
            }
        }
        Ok(Raw::Object(values))
    }
}

fn arbitrary_number<E: de::Error>(digits: &str) -> Result<Raw, E> {
    match (digits.parse(), digits.parse::<f64>()) {
        (Ok(whole), _) => Ok(Raw::Whole(whole)),
        (_, Ok(float)) if float.is_finite() => Ok(Raw::Float(float)),
        _ => Err(E::custom(format_args!("the number {} is out of range", cut(digits)))),
    }
}

/// Defines the words for the variants of an enum: `as_str`, `Display`, `FromStr`, `Serialize` and
/// `Deserialize`.
///
/// `wanted` describes the valid values, given the invalid word. The numbers, if any, are those that
/// the Go package writes for the same variants.
macro_rules! words {
    (
        $name:ident, $field:literal, wanted = $wanted:expr;
        $($variant:ident = $word:literal $(= $number:literal)?),+ $(,)?
    ) => {
        impl $name {
            /// Returns the word for this variant, as used in JSON.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            pub(crate) const WORDS: &[&str] = &[$($word),+];

            pub(crate) fn from_word(field: &str, word: &str) -> Result<Self, $crate::Error> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => {
                        let wanted: fn(&str) -> String = $wanted;
                        Err($crate::Error::invalid(field, word, &wanted(word)))
                    }
                }
            }

            pub(crate) fn from_raw(field: &str, raw: &$crate::codec::document::Raw) -> Result<Self, $crate::Error> {
                match raw {
                    $crate::codec::document::Raw::Text(word) => Self::from_word(field, word),
                    $($(other if other.as_whole_literal() == Some($number) => Ok(Self::$variant),)?)+
                    other => {
                        let wanted: fn(&str) -> String = $wanted;
                        Err($crate::Error::invalid(field, other, &wanted("")))
                    }
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::Error;

            fn from_str(word: &str) -> Result<Self, $crate::Error> {
                Self::from_word($field, word)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $crate::codec::document::deserialize(deserializer, |raw| Self::from_raw($field, &raw))
            }
        }
    };
}

pub(crate) use words;

#[cfg(test)]
mod tests;
