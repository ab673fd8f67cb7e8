//! tower's power of two choices with `PeakEwma`, and its retries with their budget: its own code in the same time.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwmaDiscover};
use tower::retry::Retry;
use tower::retry::budget::{Budget, TpsBudget};
use tower::util::ServiceExt;
use tower::{BoxError, Service};

use crate::Nanos;
use crate::record::Ended;
use crate::scenario::Scenario;
use crate::server::Reply;
use crate::world::{Exchange, Shared};

type Balancer = Balance<PeakEwmaDiscover<ServiceList<Vec<Server>>>, Request>;

/// One client.
pub(crate) struct Tower {
    service: Retry<Repeat, Handle>,
    attempt_timeout: Nanos,
    timeout: Nanos,
}

/// A call, and what is counted of it.
#[derive(Clone)]
struct Request {
    world: Shared,
    attempt_timeout: Nanos,
    /// When the call ends.
    until: Nanos,
    idempotent: bool,
    attempts: Rc<Cell<u32>>,
}

/// What an attempt came to, where that is no success: nothing in time, or this reply.
#[derive(Debug)]
struct Failed(Option<Reply>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Failed {}

/// One endpoint, by its index.
struct Server(usize);

impl Service<Request> for Server {
    type Response = ();
    type Error = Failed;
    type Future = Pin<Box<dyn Future<Output = Result<(), Failed>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        request.attempts.set(request.attempts.get() + 1);
        let now = request.world.borrow().now;
        let until = (now + request.attempt_timeout).min(request.until);
        let exchange = Exchange::until(&request.world, self.0, until);
        Box::pin(async move {
            match exchange.await {
                Some(Reply::Ok) => Ok(()),
                other => Err(Failed(other)),
            }
        })
    }
}

/// The balancer, which is no service to clone by itself; programs put it behind a buffer.
#[derive(Clone)]
struct Handle(Rc<RefCell<Balancer>>);

impl Service<Request> for Handle {
    type Response = ();
    type Error = BoxError;
    type Future = <Balancer as Service<Request>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.borrow_mut().poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        self.0.borrow_mut().call(request)
    }
}

/// Repeats what may be repeated while the budget pays for it.
#[derive(Clone)]
struct Repeat {
    budget: Arc<TpsBudget>,
    retries: u32,
}

impl tower::retry::Policy<Request, (), BoxError> for Repeat {
    type Future = Ready<()>;

    fn retry(&mut self, request: &mut Request, result: &mut Result<(), BoxError>) -> Option<Ready<()>> {
        let Err(error) = result else {
            self.budget.deposit();
            return None;
        };
        let reply = error.downcast_ref::<Failed>().and_then(|failed| failed.0);
        let repeatable = request.idempotent || reply == Some(Reply::Refused);
        let in_time = request.world.borrow().now < request.until;
        let again = repeatable && in_time && request.attempts.get() <= self.retries;
        (again && self.budget.withdraw()).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Request) -> Option<Request> {
        Some(request.clone())
    }
}

struct Random(SmallRng);

impl tower::util::rng::Rng for Random {
    fn next_u64(&mut self) -> u64 {
        self.0.random()
    }
}

impl Tower {
    pub(crate) fn new(scenario: &Scenario, seed: u64) -> Self {
        let servers: Vec<_> = (0..scenario.first_tier()).map(Server).collect();
        // The constants of tower's documentation: 1 s until the first answer, decay in 10 s, a fifth and 10 a second.
        let (unknown, decay) = (Duration::from_secs(1), Duration::from_secs(10));
        let discover =
            PeakEwmaDiscover::new(ServiceList::new(servers), unknown, decay, CompleteOnResponse::default());
        let balancer = Balance::from_rng(discover, Random(SmallRng::seed_from_u64(seed)));
        let budget = Arc::new(TpsBudget::new(Duration::from_secs(10), 10, 0.2));
        let repeat = Repeat { budget, retries: scenario.config.max_retries() };
        Self {
            service: Retry::new(repeat, Handle(Rc::new(RefCell::new(balancer)))),
            attempt_timeout: scenario.config.attempt_timeout().as_nanos() as Nanos,
            timeout: scenario.config.timeout().as_nanos() as Nanos,
        }
    }

    pub(crate) async fn call(&self, world: &Shared, idempotent: bool) -> Ended {
        let attempts = Rc::new(Cell::new(0));
        let request = Request {
            world: Rc::clone(world),
            attempt_timeout: self.attempt_timeout,
            until: world.borrow().now + self.timeout,
            idempotent,
            attempts: Rc::clone(&attempts),
        };
        let succeeded = self.service.clone().oneshot(request).await.is_ok();
        Ended { succeeded, first_failed: !succeeded || attempts.get() > 1 }
    }
}
