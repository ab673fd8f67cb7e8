//! Numbers of documents: whole numbers however a format writes them, and zeros that stand for nothing.

use crate::codec::document::Raw;

/// Whole numbers beyond this are no numbers of any field.
const LARGEST: f64 = 9_223_372_036_854_775_808.0;

impl Raw {
    /// Returns the value as a whole number. Helm's templates turn a large one into `1e+06`.
    pub(crate) fn as_whole(&self) -> Option<i128> {
        match *self {
            Self::Whole(value) => Some(value),
            Self::Zero => Some(0),
            Self::Float(value) if value.fract() == 0.0 && value.abs() < LARGEST => Some(value as i128),
            _ => None,
        }
    }

    /// Like [`as_whole`](Self::as_whole), for numbers that stand for words: `1.0` is none.
    pub(crate) fn as_whole_literal(&self) -> Option<i128> {
        self.as_whole().filter(|_| !matches!(self, Self::Float(_)))
    }

    /// Whether the value is the 0 that the Go package writes for a number that is not set.
    pub(crate) fn is_unset(&self) -> bool {
        matches!(self, Self::Whole(0))
    }

    /// Marks each whole 0 as written on purpose, in a document that is not JSON: the Go package
    /// writes no other format.
    pub(super) fn with_zeros_kept(self) -> Self {
        match self {
            Self::Whole(0) => Self::Zero,
            Self::List(values) => Self::List(values.into_iter().map(Self::with_zeros_kept).collect()),
            Self::Object(values) => {
                let kept = values.into_iter().map(|(key, value)| (key, value.with_zeros_kept()));
                Self::Object(kept.collect())
            }
            other => other,
        }
    }

    /// Keeps the zeros that a deserializer of this type has read, unless it reads JSON. Serde has no
    /// other way to tell than the name of the type.
    pub(super) fn read_by<D>(self) -> Self {
        let is_json = std::any::type_name::<D>().contains("serde_json::");
        if is_json { self } else { self.with_zeros_kept() }
    }
}
