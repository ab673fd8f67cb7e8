//! Names that are validated once, at the boundary.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};
use serde::{Serialize, Serializer};

use crate::error::{Error, is_unprintable};
use crate::model::endpoint::limits;

/// The name of a service: 1 to 253 letters, digits and `. _ -`. Cloning shares the text.
///
/// `.` and `..` are invalid, so that a name can be part of a path.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceName(Arc<str>);

/// The id of an endpoint within its source and service: 1 to 255 printable characters without white
/// space. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(Arc<str>);

fn check_service(text: &str) -> Result<(), Error> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let right = (1..=limits::SERVICE_NAME).contains(&text.len())
        && text.bytes().all(allowed)
        && text != "."
        && text != "..";
    let wanted = "1 to 253 letters, digits, dots, underscores and hyphens";
    if right { Ok(()) } else { Err(Error::invalid("service name", text, wanted)) }
}

fn check_id(text: &str) -> Result<(), Error> {
    let right = !text.is_empty()
        && text.chars().nth(limits::ENDPOINT_ID).is_none()
        && !text.chars().any(|c| c.is_whitespace() || is_unprintable(c));
    let wanted = "1 to 255 printable characters without white space";
    if right { Ok(()) } else { Err(Error::invalid("endpoint id", text, wanted)) }
}

macro_rules! checked_text {
    ($name:ident, $check:ident) => {
        impl $name {
            /// Validates the text.
            pub fn new(text: impl AsRef<str>) -> Result<Self, Error> {
                let text = text.as_ref();
                $check(text)?;
                Ok(Self(text.into()))
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = Error;

            fn try_from(text: &str) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;

            fn try_from(text: String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl TryFrom<&String> for $name {
            type Error = Error;

            fn try_from(text: &String) -> Result<Self, Error> {
                Self::new(text)
            }
        }

        impl From<&Self> for $name {
            fn from(same: &Self) -> Self {
                same.clone()
            }
        }

        impl From<$name> for String {
            fn from(checked: $name) -> Self {
                checked.as_str().to_owned()
            }
        }

        impl From<&$name> for String {
            fn from(checked: &$name) -> Self {
                checked.as_str().to_owned()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                self.as_str() == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.as_str() == *other
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::new(String::deserialize(deserializer)?).map_err(D::Error::custom)
            }
        }
    };
}

checked_text!(ServiceName, check_service);
checked_text!(EndpointId, check_id);
