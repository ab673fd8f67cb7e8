//! Where the token of a request comes from.

use failover_provider_kit::{Secret, TokenFile};

/// Where the token of a request comes from.
#[derive(Debug, Default)]
pub(crate) enum TokenSource {
    #[default]
    None,
    Text(Secret),
    File(TokenFile),
}

impl TokenSource {
    /// The token to send.
    pub(crate) async fn current(&self) -> Option<Secret> {
        match self {
            Self::None => None,
            Self::Text(token) => Some(token.clone()),
            Self::File(file) => Some(file.current().await),
        }
    }

    /// Whether there is another token, after the server refused this one.
    pub(crate) async fn renewed(&self, refused: Option<&Secret>) -> bool {
        match self {
            Self::None | Self::Text(_) => false,
            Self::File(file) => Some(&file.reread().await) != refused,
        }
    }

    pub(crate) fn is_some(&self) -> bool {
        !matches!(self, Self::None)
    }
}
