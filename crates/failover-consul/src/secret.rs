//! A token that shows nowhere, and where it comes from.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use failover_core::{Error, ErrorKind};
use tokio::time::Instant;

use crate::pace::now;

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// Takes a token as it stands in a file or a variable, with the white space around it.
    pub(crate) fn parse(text: &str, from: &str) -> Result<Option<Self>, Error> {
        let token = text.trim();
        if token.is_empty() {
            return Ok(None);
        }
        if !token.bytes().all(|b| b.is_ascii_graphic()) {
            let message =
                format!("{from}: a token is visible ASCII characters without spaces; it is not shown");
            return Err(Error::new(ErrorKind::Validation, message));
        }
        Ok(Some(Self(token.to_owned())))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// Where the token of a request comes from.
#[derive(Debug, Default)]
pub(crate) enum TokenSource {
    #[default]
    None,
    Text(Secret),
    File(TokenFile),
}

impl TokenSource {
    /// The token to send now.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds what no token is.
    pub(crate) fn current(&self) -> Result<Option<Secret>, Error> {
        match self {
            Self::None => Ok(None),
            Self::Text(token) => Ok(Some(token.clone())),
            Self::File(file) => file.current(false),
        }
    }

    /// After the server refused the token: whether there is another one by now.
    pub(crate) fn renewed(&self, refused: Option<&Secret>) -> bool {
        match self {
            Self::None | Self::Text(_) => false,
            Self::File(file) => file.current(true).is_ok_and(|token| token.as_ref() != refused),
        }
    }

    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}

/// A file that holds a token, and what it held a moment ago.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: PathBuf,
    read: Mutex<Option<(Instant, Option<Secret>)>>,
}

/// For so long what was read is not read again, unless the server refuses it.
const FRESH: Duration = Duration::from_secs(5);
/// A token has 36 characters; whatever is much longer is another file.
const MOST_BYTES: u64 = 64 * 1024;

impl TokenFile {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), read: Mutex::new(None) }
    }

    pub(crate) fn current(&self, again: bool) -> Result<Option<Secret>, Error> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let now = now();
        match &*read {
            Some((at, token)) if !again && now.duration_since(*at) < FRESH => return Ok(token.clone()),
            _ => {}
        }
        let token = self.read()?;
        *read = Some((now, token.clone()));
        Ok(token)
    }

    fn read(&self) -> Result<Option<Secret>, Error> {
        let name = format!("token file {}", self.path.display());
        Secret::parse(&small_file(&self.path, MOST_BYTES, &name)?, &name)
    }
}

/// Reads a file of at most so many bytes; the error names it and shows nothing of what it holds.
pub(crate) fn small_file(path: &Path, most: u64, name: &str) -> Result<String, Error> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| unreadable(name, &error.to_string()))?;
    let size = file
        .take(most + 1)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(name, &error.to_string()))?;
    if size as u64 > most {
        Err(unreadable(name, &format!("it is larger than {most} bytes")))
    } else {
        Ok(text)
    }
}

fn unreadable(name: &str, why: &str) -> Error {
    Error::new(ErrorKind::Validation, format!("{name} cannot be read: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_shows_nowhere() {
        let token = Secret::parse(" canary-token \n", "token").expect("valid").expect("there");
        assert_eq!(token.expose(), "canary-token");
        assert_eq!(format!("{token:?}"), "<redacted>");
        assert!(!format!("{:?}", TokenSource::Text(token)).contains("canary"));
        let error = Secret::parse("canary token", "token").expect_err("has a space");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        assert!(Secret::parse("canary\u{e9}", "token").is_err());
        assert_eq!(Secret::parse(" \n", "token").expect("none"), None);
    }

    #[test]
    fn a_token_file_is_read_again_when_the_token_was_refused_and_is_never_shown() {
        let directory = failover_testkit::TempDir::new().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, "first\n").expect("written");
        let source = TokenSource::File(TokenFile::new(&path));
        let first = source.current().expect("read");
        assert_eq!(first.as_ref().map(Secret::expose), Some("first"));
        assert!(!source.renewed(first.as_ref()), "it holds the same still");
        std::fs::write(&path, "second\n").expect("written");
        assert_eq!(source.current().expect("kept"), first, "for a moment it is not read again");
        assert!(source.renewed(first.as_ref()));
        assert_eq!(source.current().expect("read").as_ref().map(Secret::expose), Some("second"));
        std::fs::write(&path, "x".repeat(70_000)).expect("written");
        let error = TokenFile::new(&path).current(false).expect_err("too large");
        assert!(error.to_string().contains("65536 bytes") && !error.to_string().contains("xx"), "{error}");
    }
}
