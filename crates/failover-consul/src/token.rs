//! A token that shows nowhere, and where it comes from.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use failover_core::{Error, ErrorKind};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::backoff::now;

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
    pub(crate) async fn current(&self) -> Option<Secret> {
        match self {
            Self::None => None,
            Self::Text(token) => Some(token.clone()),
            Self::File(file) => Some(file.current(false).await),
        }
    }

    /// After the server refused the token: whether there is another one by now.
    pub(crate) async fn renewed(&self, refused: Option<&Secret>) -> bool {
        match self {
            Self::None | Self::Text(_) => false,
            Self::File(file) => Some(&file.current(true).await) != refused,
        }
    }

    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}

/// A file that holds a token, and what it held a moment ago.
#[derive(Debug)]
pub(crate) struct TokenFile {
    path: Arc<Path>,
    /// Held while the file is read: many requests read it once.
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    at: Instant,
    token: Secret,
    /// It could not be read the last time.
    unreadable: bool,
    /// Reads it, and has not come back yet.
    reading: Option<JoinHandle<Result<Secret, Error>>>,
}

/// For so long what was read is not read again, unless the server refuses it.
const FRESH: Duration = Duration::from_secs(5);
/// How long a request waits for the file.
const PATIENCE: Duration = Duration::from_secs(1);
/// A token has 36 characters; whatever is much longer is another file.
const MAX_BYTES: u64 = 64 * 1024;

impl TokenFile {
    /// Reads it, here and now.
    ///
    /// # Errors
    ///
    /// It cannot be read, or holds no token.
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let last = Last { at: now(), token: read(path)?, unreadable: false, reading: None };
        Ok(Self { path: path.into(), last: Mutex::new(last) })
    }

    /// What it holds. As long as it cannot be read, or holds no token, what was read before counts: it may be in the middle of
    /// being written.
    async fn current(&self, again: bool) -> Secret {
        let mut last = self.last.lock().await;
        if !again && now().duration_since(last.at) < FRESH {
            return last.token.clone();
        }
        // Not on this thread: a disk can be one that does not answer.
        let start = || {
            let path = Arc::clone(&self.path);
            tokio::task::spawn_blocking(move || read(&path))
        };
        let found = match timeout(PATIENCE, last.reading.get_or_insert_with(start)).await {
            Ok(done) => {
                last.reading = None;
                done.unwrap_or_else(|error| Err(Error::new(ErrorKind::Internal, error.to_string())))
            }
            Err(_) => {
                let message = format!("token file {}: not read within {PATIENCE:?}", self.path.display());
                Err(Error::new(ErrorKind::Timeout, message))
            }
        };
        last.at = now();
        match found {
            Ok(token) => {
                last.token = token;
                last.unreadable = false;
            }
            Err(error) => {
                if !last.unreadable {
                    tracing::warn!(%error, "the token that was read before is used on");
                }
                last.unreadable = true;
            }
        }
        last.token.clone()
    }
}

fn read(path: &Path) -> Result<Secret, Error> {
    let name = format!("token file {}", path.display());
    let token = Secret::parse(&small_file(path, MAX_BYTES, &name)?, &name)?;
    token.ok_or_else(|| Error::new(ErrorKind::Validation, format!("{name}: it is empty")))
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

    fn shown(token: Option<&Secret>) -> &str {
        token.map_or("none", Secret::expose)
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_file_is_read_again_when_the_token_was_refused_and_is_never_shown() {
        let directory = failover_testkit::TempDir::new().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, "first\n").expect("written");
        let source = TokenSource::File(TokenFile::open(&path).expect("read"));
        let first = source.current().await;
        assert_eq!(shown(first.as_ref()), "first");
        assert!(!source.renewed(first.as_ref()).await, "it holds the same still");
        std::fs::write(&path, "second\n").expect("written");
        assert_eq!(source.current().await, first, "for a moment it is not read again");
        assert!(source.renewed(first.as_ref()).await);
        assert_eq!(shown(source.current().await.as_ref()), "second");
        std::fs::write(&path, "x".repeat(70_000)).expect("written");
        let error = TokenFile::open(&path).expect_err("too large");
        assert!(error.to_string().contains("65536 bytes") && !error.to_string().contains("xx"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_file_that_is_being_written_leaves_the_token_before() {
        let directory = failover_testkit::TempDir::new().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, "").expect("written");
        let error = TokenFile::open(&path).expect_err("empty");
        assert!(error.to_string().contains("it is empty"), "{error}");
        std::fs::write(&path, "first").expect("written");
        let source = TokenSource::File(TokenFile::open(&path).expect("read"));
        for written in [Some(""), Some("two words"), None] {
            match written {
                Some(text) => std::fs::write(&path, text).expect("written"),
                None => std::fs::remove_file(&path).expect("removed"),
            }
            tokio::time::advance(FRESH).await;
            let token = source.current().await;
            assert_eq!(shown(token.as_ref()), "first", "{written:?}");
            assert!(!source.renewed(token.as_ref()).await);
        }
        std::fs::write(&path, "second").expect("written");
        tokio::time::advance(FRESH).await;
        assert_eq!(shown(source.current().await.as_ref()), "second");
    }
}
