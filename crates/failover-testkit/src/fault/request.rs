//! Requests that the scripted server received.

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// A request as received, including the body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// `GET`, `PUT`, ….
    pub method: String,
    /// Path and query as sent, still encoded.
    pub target: String,
    /// Headers with lower-case names.
    pub headers: Vec<(String, String)>,
    /// The body, if its length was given.
    pub body: Vec<u8>,
    /// The number of the connection, starting at 0.
    pub connection: usize,
    /// The number of the request among all requests, starting at 0.
    pub number: usize,
}

impl Request {
    /// Returns the first header with this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str())
    }

    /// Returns the target without the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Returns the value of a query parameter as sent; empty if it has none.
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.target.split_once('?')?;
        query.split('&').find_map(|pair| {
            let (of, value) = pair.split_once('=').unwrap_or((pair, ""));
            (of == name).then_some(value)
        })
    }
}

/// Reads the next request of the connection; `None` at its end. Bytes after it stay in `buffer`.
pub(super) async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    loop {
        if let Some((request, length)) = parse(buffer) {
            buffer.drain(..length);
            return Some(request);
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

/// Resolves when the client has closed the connection; unread bytes mean that it has not.
pub(super) async fn closed(stream: &TcpStream) {
    let mut byte = [0];
    while !matches!(stream.peek(&mut byte).await, Ok(0) | Err(_)) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn parse(bytes: &[u8]) -> Option<(Request, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.lines();
    let mut words = lines.next()?.split(' ');
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request { method, target, headers, ..Request::default() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    request.body = bytes.get(end..end + length)?.to_vec();
    Some((request, end + length))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_request_is_whole_when_its_body_is() {
        let bytes = b"PUT /v1/kv/a?cas=0&dc HTTP/1.1\r\nX-Token: t\r\nContent-Length: 3\r\n\r\nabcGET /";
        let (request, length) = parse(bytes).expect("whole");
        assert_eq!((request.method.as_str(), request.path(), length), ("PUT", "/v1/kv/a", bytes.len() - 5));
        assert_eq!(
            (request.query("cas"), request.query("dc"), request.query("c")),
            (Some("0"), Some(""), None)
        );
        assert_eq!((request.header("x-token"), request.body.as_slice()), (Some("t"), b"abc".as_slice()));
        assert_eq!(parse(&bytes[..length - 1]), None);
    }
}
