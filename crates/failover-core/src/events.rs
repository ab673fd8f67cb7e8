//! Events: a bounded log, and a subscription that may miss some.

pub(crate) mod event;
pub(crate) mod kind;
pub(crate) mod log;
pub(crate) mod subscription;
pub(crate) mod throttle;

pub use event::Event;
pub use kind::EventKind;
pub(crate) use log::EventLog;
pub use subscription::EventReceiver;
