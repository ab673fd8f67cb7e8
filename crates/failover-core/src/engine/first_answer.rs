//! What the first answer after all endpoints have failed says about their failures.
//!
//! A late answer has waited behind others: the cause is load, and every endpoint is needed. An endpoint that is out would
//! otherwise wait for its probe call, as long as an attempt may take, while the others get its calls as well. But an
//! endpoint that returns can be slow at first, and the others silent still; so silence counts as soon as the freeze ends. A
//! prompt answer has waited behind none: the calls were not too many, and a freeze would only keep the endpoints in use
//! that are silent still.

use crate::engine::Engine;
use crate::runtime::clock::Time;

impl Engine {
    /// Considers a success before it is counted. Returns whether it shows an overload.
    pub(super) fn consider_first_answer(&self, began: Time, now: Time) -> bool {
        if !self.is_failing(&self.snapshot.load()) {
            return false;
        }
        let late = self.is_slow(now.nanos_since(began) as f32);
        if !late {
            self.strain.thaw();
        }
        late && !self.strain.is_frozen(now)
    }
}
