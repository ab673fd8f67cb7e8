//! What heartbeats have found out about a registration.

use failover_core::Error;
use failover_core::provider::RegistrationStatus;

/// What became of a registration, as of its last heartbeat.
#[derive(Clone, Debug, Default)]
pub(crate) enum Fate {
    /// The agent has it.
    #[default]
    Kept,
    /// The last heartbeat failed.
    Failing(Error),
    /// The agent has lost it, and it is not registered again yet.
    Lost { told: bool },
    /// The agent had lost it. A loss that was repaired is reported once, too.
    Restored { told: bool },
    /// Another process has registered the id.
    TakenOver { by: String },
}

impl Fate {
    /// Records a heartbeat, or another registration, that succeeded.
    pub(super) fn alive(&mut self) {
        match self {
            Self::Failing(_) => *self = Self::Kept,
            Self::Lost { told } => *self = Self::Restored { told: *told },
            _ => {}
        }
    }

    /// Records a failure. A loss is not forgotten over it.
    pub(super) fn failing(&mut self, error: Error) {
        if matches!(self, Self::Kept | Self::Failing(_)) {
            *self = Self::Failing(error);
        }
    }

    pub(super) fn lost(&mut self) {
        let told = matches!(self, Self::Lost { told: true });
        *self = Self::Lost { told };
    }

    /// Returns the answer for who asks what became of the registration.
    pub(super) fn tell(&mut self) -> Result<RegistrationStatus, Error> {
        match self {
            Self::Kept | Self::Restored { told: true } => Ok(RegistrationStatus::Registered),
            Self::Failing(error) => Err(error.clone()),
            Self::Lost { told } | Self::Restored { told } => {
                *told = true;
                Ok(RegistrationStatus::Missing)
            }
            Self::TakenOver { by } => Ok(RegistrationStatus::TakenOver { by: by.clone() }),
        }
    }

    /// Returns whether registering it again, as it was, is the answer to a loss.
    pub(crate) fn is_repaired_by_registering(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Restored { told: true })
    }
}

#[cfg(test)]
mod tests {
    use failover_core::ErrorKind;

    use super::*;

    #[test]
    fn a_loss_is_told_once_and_a_failure_while_it_lasts() {
        let failure = || Error::new(ErrorKind::Connection, "refused");
        let mut fate = Fate::default();
        assert_eq!(fate.tell().expect("kept"), RegistrationStatus::Registered);
        fate.failing(failure());
        assert!(fate.tell().is_err() && fate.tell().is_err());
        fate.alive();
        assert_eq!(fate.tell().expect("kept"), RegistrationStatus::Registered);

        // Repaired before anybody asked.
        fate.lost();
        fate.failing(failure());
        fate.alive();
        assert!(!fate.is_repaired_by_registering(), "nobody was told");
        assert_eq!(fate.tell().expect("known"), RegistrationStatus::Missing);
        assert!(fate.is_repaired_by_registering());
        assert_eq!(fate.tell().expect("known"), RegistrationStatus::Registered);

        // Told while it lasts.
        fate.lost();
        assert_eq!(fate.tell().expect("known"), RegistrationStatus::Missing);
        fate.lost();
        assert_eq!(fate.tell().expect("known"), RegistrationStatus::Missing);
        fate.alive();
        assert!(fate.is_repaired_by_registering());
        assert_eq!(fate.tell().expect("known"), RegistrationStatus::Registered);
    }
}
