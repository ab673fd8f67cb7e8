//! What a request is answered with.

/// An answer: status, headers and body, for any HTTP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    status: u16,
    content_type: &'static str,
    body: String,
}

/// The headers of every page, beside its content type. The page has no scripts and loads nothing; it
/// cannot be framed, and no cache keeps it.
pub const HEADERS: [(&str, &str); 5] = [
    (
        "content-security-policy",
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'self'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    // With `no-referrer`, browsers send the origin `null` with the forms of the page itself.
    ("referrer-policy", "same-origin"),
    ("cache-control", "no-store"),
];

impl Page {
    pub(crate) fn html(status: u16, body: String) -> Self {
        Self { status, content_type: "text/html; charset=utf-8", body }
    }

    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self { status, content_type: "application/json", body: body.to_string() }
    }

    /// Returns the status code: 200, or 404 for a page or a service that there is not.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// Returns the value of the header `content-type`. Set those of [`HEADERS`] as well.
    pub fn content_type(&self) -> &'static str {
        self.content_type
    }

    /// Returns the body.
    pub fn body(&self) -> &str {
        &self.body
    }

    /// Returns the body, owned.
    pub fn into_body(self) -> String {
        self.body
    }
}
