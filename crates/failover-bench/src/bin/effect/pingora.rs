//! pingora's selection and its state of health, in the time of the simulator.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use failover_sim::{Balancer, Check};
use pingora_error::{Error, ErrorType};
use pingora_load_balancing::health_check::HealthCheck;
use pingora_load_balancing::selection::RoundRobin;
use pingora_load_balancing::{Backend, LoadBalancer};

/// How often the health checks run, as in pingora's documentation.
const FREQUENCY: Duration = Duration::from_secs(1);
/// The time limit of a check: the connection timeout of `TcpHealthCheck::new()`.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The time that an endpoint takes to answer a check.
const ANSWER: Duration = Duration::from_micros(500);
/// The candidates that a selection looks at, as in pingora's documentation.
const ITERATIONS: usize = 256;

/// Returns a balancer over this number of endpoints, whose index is their port minus one.
pub(crate) fn balancer(endpoints: usize) -> Box<dyn Balancer> {
    let addresses = (1..=endpoints).map(|port| format!("10.0.0.1:{port}"));
    let mut balancer = LoadBalancer::try_from_iter(addresses).expect("valid addresses");
    let model = Arc::new(Mutex::new(Model::default()));
    balancer.set_health_check(Box::new(Modelled(Arc::clone(&model))));
    let mut backends: Vec<_> = balancer.backends().get_backend().iter().cloned().collect();
    backends.sort_by_key(index);
    Box::new(Pingora {
        balancer: Arc::new(balancer),
        backends,
        model,
        pass: RefCell::new(None),
        // Faults begin at whole seconds: the checks run in the middle between them, so that they are late by the mean.
        next: Cell::new(FREQUENCY / 2),
    })
}

fn index(backend: &Backend) -> usize {
    backend.addr.as_inet().map_or(0, |address| usize::from(address.port()).saturating_sub(1))
}

struct Pingora {
    balancer: Arc<LoadBalancer<RoundRobin>>,
    /// In the order of their indices.
    backends: Vec<Backend>,
    model: Arc<Mutex<Model>>,
    /// The pass of health checks that is under way.
    pass: RefCell<Option<Pin<Box<dyn Future<Output = ()>>>>>,
    /// When the next pass begins.
    next: Cell<Duration>,
}

/// What the checks see of the simulator.
#[derive(Default)]
struct Model {
    now: Duration,
    answers: Vec<Check>,
    /// When the check that is under way ends.
    ends: Duration,
}

/// A health check that the model answers, with pingora's default thresholds.
struct Modelled(Arc<Mutex<Model>>);

#[async_trait]
impl HealthCheck for Modelled {
    async fn check(&self, target: &Backend) -> pingora_error::Result<()> {
        let (answer, ends) = {
            let mut model = lock(&self.0);
            let answer = model.answers[index(target)];
            model.ends = model.now + if answer == Check::Silent { TIMEOUT } else { ANSWER };
            (answer, model.ends)
        };
        // The simulator calls `advance` at that time, which polls the pass again.
        poll_fn(|_| if lock(&self.0).now >= ends { Poll::Ready(()) } else { Poll::Pending }).await;
        match answer {
            Check::Passes => Ok(()),
            Check::Silent => Err(Error::new(ErrorType::ConnectTimedout)),
            _ => Err(Error::new(ErrorType::ConnectRefused)),
        }
    }

    fn health_threshold(&self, _: bool) -> usize {
        1
    }
}

impl Balancer for Pingora {
    fn choose(&self) -> Option<usize> {
        self.balancer.select(b"", ITERATIONS).map(|backend| index(&backend))
    }

    fn advance(&self, now: Duration, answers: &[Check]) -> Duration {
        {
            let mut model = lock(&self.model);
            (model.now, model.answers) = (now, answers.to_vec());
        }
        let mut pass = self.pass.borrow_mut();
        if pass.is_none() && now >= self.next.get() {
            self.next.set(now + FREQUENCY);
            let balancer = Arc::clone(&self.balancer);
            *pass = Some(Box::pin(async move { balancer.backends().run_health_check(false).await }));
        }
        let mut context = Context::from_waker(Waker::noop());
        match pass.as_mut().map(|pass| pass.as_mut().poll(&mut context)) {
            Some(Poll::Pending) => lock(&self.model).ends,
            Some(Poll::Ready(())) => {
                *pass = None;
                self.next.get()
            }
            None => self.next.get(),
        }
    }

    fn is_out(&self, endpoint: usize) -> bool {
        !self.balancer.backends().ready(&self.backends[endpoint])
    }
}

fn lock(model: &Mutex<Model>) -> MutexGuard<'_, Model> {
    model.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets time pass until then, at the times that the balancer asks for.
    fn advance(balancer: &dyn Balancer, from: u64, until: u64, answers: &[Check]) -> u64 {
        let mut now = Duration::from_millis(from);
        while now < Duration::from_millis(until) {
            now = balancer.advance(now, answers).max(now + Duration::from_millis(1));
        }
        now.as_millis() as u64
    }

    fn chosen(balancer: &dyn Balancer) -> Vec<Option<usize>> {
        let mut chosen: Vec<_> = (0..30).map(|_| balancer.choose()).collect();
        chosen.sort_unstable();
        chosen.dedup();
        chosen
    }

    #[test]
    fn checks_run_one_after_the_other_and_a_silent_endpoint_holds_them_up() {
        let balancer = balancer(3);
        let now = advance(&*balancer, 0, 1500, &[Check::Passes; 3]);
        assert_eq!((now, chosen(&*balancer)), (1500, vec![Some(0), Some(1), Some(2)]));
        let answers = [Check::Silent, Check::Silent, Check::Fails];
        advance(&*balancer, now, 2499, &answers);
        assert!(!balancer.is_out(0), "its check ends at 2.5 s");
        advance(&*balancer, 2500, 2501, &answers);
        assert!(balancer.is_out(0) && !balancer.is_out(1));
        advance(&*balancer, 3500, 3502, &answers);
        assert!(balancer.is_out(1) && balancer.is_out(2));
        assert_eq!(chosen(&*balancer), [None], "no call where none is healthy");
        advance(&*balancer, 3502, 7000, &[Check::Passes, Check::Silent, Check::Passes]);
        assert_eq!(chosen(&*balancer), [Some(0), Some(2)]);
    }
}
