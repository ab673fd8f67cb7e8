//! One modelled endpoint: a pure state machine of what arrives, what finishes and what fails.

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::Nanos;
use crate::fault::FaultKind;
use crate::peer::Check;
use crate::service_time::ServiceTime;

/// The time in which an endpoint answers that it will not work on a request.
pub(crate) const REFUSAL: Nanos = 500_000;

/// What a server does with requests that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// First in, first out; requests that their caller has abandoned are worked on, too.
    Fifo,
    /// First in, first out; abandoned requests are dropped when their turn comes.
    DropAbandoned,
    /// At most this many wait; the next ones are answered with 503.
    Bounded(usize),
}

/// What comes back for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The endpoint did its work.
    Ok,
    /// No connection: the request was never sent.
    Refused,
    /// The connection broke.
    Reset,
    /// A status of 500.
    Error,
    /// A status of 503, perhaps with Retry-After in nanoseconds.
    Overload(Option<u64>),
}

/// What follows from an event of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Work on the attempt ends at this time, for the server's current life.
    Works { attempt: u32, until: Nanos, life: u32 },
    /// The attempt is answered at this time.
    Answers { attempt: u32, at: Nanos, reply: Reply },
}

/// A request that a server has accepted.
#[derive(Clone, Copy, Debug)]
struct Held {
    attempt: u32,
    /// The requests that were there before it.
    load: usize,
    since: Nanos,
}

/// How many of the newest requests a server remembers, for those that ask for its load.
const SAMPLES: usize = 32;
/// How many of them, those that arrived at the most similar load, an answer is the median of.
const SIMILAR: usize = 9;

/// One endpoint.
#[derive(Debug)]
pub(crate) struct Server {
    service: ServiceTime,
    workers: usize,
    queue: Queue,
    waiting: VecDeque<Held>,
    working: Vec<Held>,
    /// The faults that hold, by their index, with the share of requests that each one hits.
    faults: Vec<(usize, FaultKind, f64)>,
    /// Counts crashes: work of an earlier life never ends.
    life: u32,
    random: SmallRng,
    /// The newest requests: the load at which each one arrived, and how long it took.
    samples: VecDeque<(usize, Nanos)>,
    /// The time that all workers together have worked.
    pub(crate) worked: Nanos,
}

impl Server {
    pub(crate) fn new(service: ServiceTime, workers: usize, queue: Queue, seed: u64) -> Self {
        Self {
            service,
            workers,
            queue,
            waiting: VecDeque::new(),
            working: Vec::new(),
            faults: Vec::new(),
            life: 0,
            random: SmallRng::seed_from_u64(seed),
            samples: VecDeque::new(),
            worked: 0,
        }
    }

    /// An attempt arrives. Nothing follows when it is swallowed or has to wait.
    pub(crate) fn arrive(&mut self, attempt: u32, now: Nanos) -> Option<Effect> {
        let answers = |reply| Some(Effect::Answers { attempt, at: now + REFUSAL, reply });
        for index in 0..self.faults.len() {
            let (_, kind, share) = self.faults[index];
            if share < 1.0 && self.random.random::<f64>() >= share {
                continue;
            }
            match kind {
                FaultKind::Refuse => return answers(Reply::Refused),
                FaultKind::Reset => return answers(Reply::Reset),
                FaultKind::BlackHole => return None,
                FaultKind::Error => return answers(Reply::Error),
                FaultKind::Overload(after) => return answers(Reply::Overload(after)),
                FaultKind::Slow(_) => {}
            }
        }
        let held = Held { attempt, load: self.working.len() + self.waiting.len(), since: now };
        if self.working.len() < self.workers {
            return Some(self.begin(held, now));
        }
        match self.queue {
            Queue::Bounded(bound) if self.waiting.len() >= bound => answers(Reply::Overload(None)),
            _ => {
                self.waiting.push_back(held);
                None
            }
        }
    }

    /// Work on an attempt ends: the answer, and what is begun in its place.
    pub(crate) fn finish(
        &mut self,
        attempt: u32,
        life: u32,
        now: Nanos,
        is_abandoned: impl Fn(u32) -> bool,
    ) -> (Option<Effect>, Option<Effect>) {
        if life != self.life {
            return (None, None);
        }
        if let Some(place) = self.working.iter().position(|other| other.attempt == attempt) {
            let held = self.working.swap_remove(place);
            self.samples.push_back((held.load, now - held.since));
            if self.samples.len() > SAMPLES {
                self.samples.pop_front();
            }
        }
        let silent =
            self.faults.iter().any(|(_, kind, share)| *kind == FaultKind::BlackHole && *share >= 1.0);
        let answer = (!silent).then_some(Effect::Answers { attempt, at: now, reply: Reply::Ok });
        while let Some(next) = self.waiting.pop_front() {
            if self.queue == Queue::DropAbandoned && is_abandoned(next.attempt) {
                continue;
            }
            return (answer, Some(self.begin(next, now)));
        }
        (answer, None)
    }

    /// A fault begins: the attempts that it resets at once.
    pub(crate) fn fails(&mut self, index: usize, kind: FaultKind, share: f64) -> Vec<u32> {
        self.faults.push((index, kind, share));
        if kind != FaultKind::Refuse || share < 1.0 {
            return Vec::new();
        }
        self.life += 1;
        self.working.drain(..).chain(self.waiting.drain(..)).map(|held| held.attempt).collect()
    }

    /// A fault ends.
    pub(crate) fn recovers(&mut self, index: usize) {
        self.faults.retain(|(other, ..)| *other != index);
    }

    /// Whether a health check succeeds: it is answered, however slowly.
    pub(crate) fn is_healthy(&self) -> bool {
        self.faults.iter().all(|(_, kind, share)| matches!(kind, FaultKind::Slow(_)) || *share < 1.0)
    }

    /// How a health check would be answered.
    pub(crate) fn check(&self) -> Check {
        let silent =
            self.faults.iter().any(|(_, kind, share)| *kind == FaultKind::BlackHole && *share >= 1.0);
        match (self.is_healthy(), silent) {
            (true, _) => Check::Passes,
            (false, false) => Check::Fails,
            (false, true) => Check::Silent,
        }
    }

    /// The requests in flight and the time that requests took at about that load, 0 if that is unknown; none from a
    /// server that does not answer.
    pub(crate) fn probe(&self) -> Option<(usize, Nanos)> {
        let load = self.working.len() + self.waiting.len();
        // Where none arrived at this load, the time is scaled by how many more or fewer are there now.
        let scaled = |at: usize, time: Nanos| time * (load as u64 + 1) / (at as u64 + 1);
        let samples = self.samples.iter().map(|(at, time)| (at.abs_diff(load), scaled(*at, *time)));
        let mut samples: Vec<_> = samples.collect();
        samples.sort_unstable();
        let mut times: Vec<_> = samples.into_iter().take(SIMILAR).map(|(_, time)| time).collect();
        times.sort_unstable();
        self.is_healthy().then(|| (load, times.get(times.len() / 2).copied().unwrap_or(0)))
    }

    /// Whether some fault holds.
    pub(crate) fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    fn begin(&mut self, held: Held, now: Nanos) -> Effect {
        let slowed = self.faults.iter().map(|(_, kind, _)| match kind {
            FaultKind::Slow(factor) => *factor,
            _ => 1.0,
        });
        let factor: f64 = slowed.product();
        let time = ((self.service.sample(&mut self.random) as f64 * factor) as Nanos).max(1);
        self.working.push(held);
        self.worked += time;
        Effect::Works { attempt: held.attempt, until: now + time, life: self.life }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(queue: Queue) -> Server {
        Server::new(ServiceTime::Constant(10), 1, queue, 1)
    }

    #[test]
    fn a_queue_keeps_drops_or_refuses() {
        let abandoned = |attempt| attempt == 2;
        for (queue, next, third) in [
            (Queue::Fifo, Some(2), None),
            (Queue::DropAbandoned, Some(3), None),
            (Queue::Bounded(1), Some(2), Some(Reply::Overload(None))),
        ] {
            let mut server = server(queue);
            assert_eq!(server.arrive(1, 0), Some(Effect::Works { attempt: 1, until: 10, life: 0 }));
            assert_eq!(server.arrive(2, 1), None, "waits");
            let refused = server.arrive(3, 2);
            let expected = third.map(|reply| Effect::Answers { attempt: 3, at: 2 + REFUSAL, reply });
            assert_eq!(refused, expected, "{queue:?}");
            let (answer, begun) = server.finish(1, 0, 10, abandoned);
            assert_eq!(answer, Some(Effect::Answers { attempt: 1, at: 10, reply: Reply::Ok }));
            let expected = next.map(|attempt| Effect::Works { attempt, until: 20, life: 0 });
            assert_eq!(begun, expected, "{queue:?}");
        }
    }

    #[test]
    fn a_crash_resets_what_is_there_and_refuses_what_comes() {
        let mut server = server(Queue::Fifo);
        server.arrive(1, 0);
        server.arrive(2, 0);
        assert_eq!(server.fails(0, FaultKind::Refuse, 1.0), [1, 2]);
        assert_eq!(server.finish(1, 0, 10, |_| false), (None, None), "it died with the process");
        let refused = Effect::Answers { attempt: 3, at: 11 + REFUSAL, reply: Reply::Refused };
        assert_eq!(server.arrive(3, 11), Some(refused));
        server.recovers(0);
        assert_eq!(server.arrive(4, 12), Some(Effect::Works { attempt: 4, until: 22, life: 1 }));
    }

    #[test]
    fn a_black_hole_swallows_answers_and_slowness_stretches_them() {
        let mut server = server(Queue::Fifo);
        server.fails(7, FaultKind::Slow(3.0), 1.0);
        assert_eq!(server.arrive(1, 0), Some(Effect::Works { attempt: 1, until: 30, life: 0 }));
        server.fails(8, FaultKind::BlackHole, 1.0);
        assert_eq!(server.finish(1, 0, 30, |_| false), (None, None));
        assert_eq!(server.arrive(2, 31), None);
        assert!(!server.is_healthy());
    }
}
