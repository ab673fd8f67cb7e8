//! A secret that is never shown, and a file that holds one.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use failover_core::{Error, ErrorKind, Time};
use tokio::sync::Mutex;

use crate::{BlockingWork, Deadline, Timing};

/// A token that `Debug` does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Parses a token from the text of a file or variable, without surrounding white space.
    ///
    /// Returns `None` for an empty text. `from` names the source of the text in errors.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if it is not made of visible ASCII characters. The text is not shown.
    pub fn parse(text: &str, from: &str) -> Result<Option<Self>, Error> {
        let token = text.trim();
        if token.is_empty() {
            return Ok(None);
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let message =
                format!("{from}: a token is visible ASCII characters without spaces; the value is not shown");
            return Err(Error::new(ErrorKind::Validation, message));
        }
        Ok(Some(Self(token.to_owned())))
    }

    /// Returns the token itself, for use in a request.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the value of a request's header, such as `Bearer TOKEN` with the prefix `Bearer `. It
    /// is marked as sensitive, so that no log shows it.
    ///
    /// # Errors
    ///
    /// Returns `Validation` if the prefix cannot be part of a header.
    #[cfg(feature = "http-client")]
    pub fn header(&self, prefix: &str) -> Result<http::HeaderValue, Error> {
        let mut value = http::HeaderValue::try_from(format!("{prefix}{}", self.0))
            .map_err(|_| Error::invalid("prefix", "this text", "visible ASCII characters and spaces"))?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

/// A larger file is not a token.
const MAX_BYTES: u64 = 64 * 1024;

/// A file with a token, which may be replaced while in use.
///
/// The last token stays in use while the file cannot be read or holds no token, because it may be
/// in the middle of being written. Reads run on a dedicated thread, one at a time, because a disk
/// can hang.
#[derive(Debug)]
pub struct TokenFile {
    path: Arc<Path>,
    reuse: Duration,
    read_timeout: Duration,
    timing: Timing,
    reads: BlockingWork,
    /// Locked during a read, so that concurrent requests read the file once.
    last: Mutex<Last>,
}

#[derive(Debug)]
struct Last {
    at: Time,
    token: Secret,
    is_unreadable: bool,
}

impl TokenFile {
    /// Opens a token file and reads it on this thread.
    ///
    /// # Errors
    ///
    /// Returns `Permission`, with the code `UNAUTHENTICATED`, if it cannot be read, holds no token,
    /// or is larger than 64 KiB. The content is not shown.
    pub fn open(path: &Path, timing: Timing) -> Result<Self, Error> {
        let last = Mutex::new(Last { at: timing.now(), token: read(path)?, is_unreadable: false });
        Ok(Self {
            path: path.into(),
            reuse: Duration::from_secs(5),
            read_timeout: Duration::from_secs(1),
            timing,
            reads: BlockingWork::new("failover-token"),
            last,
        })
    }

    /// Sets how long a token is used before the file is read again; default 5 s, 0 to read it each
    /// time.
    #[must_use]
    pub fn with_reuse(mut self, reuse: Duration) -> Self {
        self.reuse = reuse;
        self
    }

    /// Sets how long a request waits for the file; default 1 s.
    #[must_use]
    pub fn with_read_timeout(mut self, timeout: Duration) -> Self {
        self.read_timeout = timeout;
        self
    }

    /// Returns the token, reread if it is older than [`with_reuse`](Self::with_reuse) allows.
    ///
    /// # Cancel safety
    ///
    /// Safe: a read that has started continues, and its result is dropped.
    pub async fn current(&self) -> Secret {
        self.token(false).await
    }

    /// Rereads the file, after the server refused the token, and returns the token.
    ///
    /// # Cancel safety
    ///
    /// See [`current`](Self::current).
    pub async fn reread(&self) -> Secret {
        self.token(true).await
    }

    async fn token(&self, again: bool) -> Secret {
        let mut last = self.last.lock().await;
        if !again && self.timing.now().since(last.at) < self.reuse {
            return last.token.clone();
        }
        let path = Arc::clone(&self.path);
        let what = format!("read the token file {}", self.path.display());
        let deadline = Deadline::after(&self.timing, self.read_timeout);
        let found = self.reads.run(&what, &deadline, move || read(&path)).await;
        last.at = self.timing.now();
        match found.and_then(|read| read) {
            Ok(token) => (last.token, last.is_unreadable) = (token, false),
            Err(error) => {
                if !last.is_unreadable {
                    tracing::warn!(target: "failover::provider", %error, "using the last token that was read");
                }
                last.is_unreadable = true;
            }
        }
        last.token.clone()
    }
}

fn read(path: &Path) -> Result<Secret, Error> {
    let name = format!("token file {}", path.display());
    let text = read_capped(path, MAX_BYTES).map_err(|why| Error::no_credentials(&name, why))?;
    let invalid = |error: Error| Error::no_credentials(&name, error);
    Secret::parse(&text, "its content")
        .map_err(invalid)?
        .ok_or_else(|| Error::no_credentials(&name, "it is empty"))
}

/// Reads a text file of at most `limit` bytes on this thread. `name` names it in the error.
///
/// # Errors
///
/// Returns `Validation` if it cannot be read, is not UTF-8, or is larger. The content is not shown.
pub fn read_small_file(path: &Path, limit: u64, name: &str) -> Result<String, Error> {
    let unreadable = |why| Error::new(ErrorKind::Validation, format!("{name} cannot be read: {why}"));
    read_capped(path, limit).map_err(unreadable)
}

fn read_capped(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let size = File::open(path)?.take(limit + 1).read_to_string(&mut text)?;
    if size as u64 > limit {
        return Err(io::Error::other(format!("it is larger than {limit} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use failover_testkit::TempDir;

    use super::*;

    #[test]
    fn a_token_shows_nowhere() {
        let token = Secret::parse(" canary-token \n", "token").expect("valid").expect("there");
        assert_eq!(token.expose(), "canary-token");
        assert_eq!(format!("{token:?}"), "<redacted>");
        let error = Secret::parse("canary token", "token").expect_err("has a space");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
        assert!(Secret::parse("canary\u{e9}", "token").is_err());
        assert_eq!(Secret::parse(" \n", "token").expect("none"), None);
    }

    fn file(text: &str) -> (TempDir, std::path::PathBuf) {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, text).expect("written");
        (directory, path)
    }

    #[tokio::test]
    async fn a_token_is_reused_for_a_while_and_read_again_when_it_was_refused() {
        let (_directory, path) = file("first\n");
        let token =
            TokenFile::open(&path, Timing::tokio()).expect("read").with_reuse(Duration::from_secs(600));
        assert_eq!(token.current().await.expose(), "first");
        std::fs::write(&path, "second\n").expect("written");
        assert_eq!(token.current().await.expose(), "first", "it is not read again yet");
        assert_eq!(token.reread().await.expose(), "second");
        assert_eq!(token.current().await.expose(), "second");
    }

    #[tokio::test]
    async fn a_file_that_is_being_written_leaves_the_token_before() {
        let (_directory, path) = file("first");
        let token = TokenFile::open(&path, Timing::tokio()).expect("read").with_reuse(Duration::ZERO);
        for written in [Some(""), Some("two words"), None] {
            match written {
                Some(text) => std::fs::write(&path, text).expect("written"),
                None => std::fs::remove_file(&path).expect("removed"),
            }
            assert_eq!(token.current().await.expose(), "first", "{written:?}");
        }
        std::fs::write(&path, "second").expect("written");
        assert_eq!(token.current().await.expose(), "second");
    }

    #[test]
    fn a_file_without_a_token_is_refused_and_not_shown() {
        for (text, why) in
            [("", "it is empty"), ("canary two", "not shown"), (&"x".repeat(70_000), "65536 bytes")]
        {
            let (_directory, path) = file(text);
            let error = TokenFile::open(&path, Timing::tokio()).expect_err(why);
            assert_eq!((error.kind(), error.code()), (ErrorKind::Permission, "UNAUTHENTICATED"));
            assert!(error.to_string().contains(why), "{error}");
            assert!(!error.to_string().contains("canary") && !error.to_string().contains("xx"), "{error}");
        }
    }
}
