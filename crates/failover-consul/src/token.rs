//! The source of tokens.

use failover_provider_kit::{Secret, TokenFile};

/// The source of the token of a request.
#[derive(Debug, Default)]
pub(crate) enum TokenSource {
    #[default]
    None,
    Text(Secret),
    File(TokenFile),
}

impl TokenSource {
    /// Returns the token to send.
    pub(crate) async fn current(&self) -> Option<Secret> {
        match self {
            Self::None => None,
            Self::Text(token) => Some(token.clone()),
            Self::File(file) => Some(file.current().await),
        }
    }

    /// Returns whether the source has another token than the one the server refused.
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
