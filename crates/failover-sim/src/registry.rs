//! What a modelled registry answers.

/// The registry's answer from some time on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// These endpoints, by their indices.
    Lists(Vec<usize>),
    /// A list without endpoints.
    Empty,
    /// An error.
    Down,
}

impl Answer {
    /// Whether each of this number of endpoints is named.
    pub(crate) fn listed(&self, endpoints: usize) -> Vec<bool> {
        match self {
            Self::Lists(list) => (0..endpoints).map(|index| list.contains(&index)).collect(),
            Self::Empty | Self::Down => vec![false; endpoints],
        }
    }
}
