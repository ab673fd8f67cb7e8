//! The scenario's time: seconds since the load started.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::live;

#[derive(Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn seconds(self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    /// Waits until this many seconds have passed.
    pub(crate) async fn until(self, seconds: f64) {
        tokio::time::sleep_until((self.start + Duration::from_secs_f64(seconds)).into()).await;
    }

    /// Prints a line with the time in front.
    pub(crate) fn say(self, what: impl Display) {
        live::clear();
        println!("{:6.2} s  {what}", self.seconds());
    }
}
