//! The cases of other libraries, through their public APIs as a user calls them, and the floor.

use std::cell::RefCell;
use std::future::poll_fn;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use arc_swap::ArcSwap;
use failsafe::CircuitBreaker as _;
use pingora_load_balancing::LoadBalancer;
use pingora_load_balancing::selection::{Consistent, Random, RoundRobin};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::runtime::Runtime;
use tower::balance::p2c::Balance;
use tower::buffer::Buffer;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, PeakEwmaDiscover};
use tower::{Layer, Service, service_fn};

use crate::measure::Case;
use crate::ours::{ready, urls};

/// The row that is the floor without readings.
pub(crate) const WITHOUT_CLOCK: &str = "without the clock";

thread_local! {
    static GENERATOR: RefCell<SmallRng> = RefCell::new(SmallRng::seed_from_u64(1));
}

/// Performs the minimum work of any balancer of this design: loads the table, draws an index, reads
/// the clock twice, adds to two atomics of the chosen entry.
pub(crate) fn floor(n: usize) -> impl Fn(u32) + Sync {
    let clock = quanta::Clock::new();
    let start = clock.raw();
    let entries: Vec<_> = (0..n).map(|_| Arc::new((AtomicU64::new(0), AtomicU64::new(0)))).collect();
    let table = ArcSwap::from_pointee(entries);
    move |times| {
        for _ in 0..times {
            let table = table.load();
            let began = clock.delta_as_nanos(start, clock.raw());
            let index = GENERATOR.with_borrow_mut(|generator| generator.random_range(0..table.len()));
            let entry = &table[index];
            entry.0.fetch_add(1, Ordering::Relaxed);
            let took = clock.delta_as_nanos(start, clock.raw()).wrapping_sub(began);
            entry.1.fetch_add(took, Ordering::Relaxed);
        }
    }
}

/// Like [`floor`], without the readings of the clock: the difference is what they cost among other work,
/// which can be more than in a loop of their own.
fn without_clock(n: usize) -> impl Fn(u32) {
    let entries: Vec<_> = (0..n).map(|_| Arc::new((AtomicU64::new(0), AtomicU64::new(0)))).collect();
    let table = ArcSwap::from_pointee(entries);
    move |times| {
        for _ in 0..times {
            let table = table.load();
            let index = GENERATOR.with_borrow_mut(|generator| generator.random_range(0..table.len()));
            let entry = &table[index];
            entry.0.fetch_add(1, Ordering::Relaxed);
            entry.1.fetch_add(1, Ordering::Relaxed);
        }
    }
}

pub(crate) fn cases(sizes: &[usize]) -> Vec<Case<'static>> {
    let mut cases = Vec::new();
    for n in sizes {
        cases.push(Case::new("floor", "floor", *n, floor(*n)));
        if *n <= 10_000 {
            cases.extend(pingora(*n));
            cases.push(p2c(*n));
        }
    }
    cases.push(Case::new("floor", WITHOUT_CLOCK, 10, without_clock(10)));
    cases.extend(breakers());
    cases
}

fn pingora(n: usize) -> [Case<'static>; 3] {
    let addresses = urls(n);
    let round_robin = LoadBalancer::<RoundRobin>::try_from_iter(&addresses).expect("addresses");
    let random = LoadBalancer::<Random>::try_from_iter(&addresses).expect("addresses");
    let consistent = LoadBalancer::<Consistent>::try_from_iter(&addresses).expect("addresses");
    [
        Case::new("pingora", "round_robin", n, move |times| {
            (0..times).for_each(|_| drop(black_box(round_robin.select(b"", 256))));
        }),
        Case::new("pingora", "random", n, move |times| {
            (0..times).for_each(|_| drop(black_box(random.select(b"", 256))));
        }),
        Case::new("pingora", "consistent", n, move |times| {
            (0..times).for_each(|call| drop(black_box(consistent.select(&call.to_le_bytes(), 256))));
        }),
    ]
}

type Endpoint = tower::util::BoxCloneSyncService<(), (), tower::BoxError>;

/// The endpoints answer immediately, so that only the balancer is measured.
macro_rules! balance {
    ($n:expr) => {{
        let services: Vec<_> =
            (0..$n).map(|_| service_fn(|()| std::future::ready(Ok::<(), tower::BoxError>(())))).collect();
        let discover = PeakEwmaDiscover::new::<()>(
            ServiceList::new::<()>(services),
            Duration::from_millis(10),
            Duration::from_secs(10),
            CompleteOnResponse::default(),
        );
        Balance::new(discover)
    }};
}

fn p2c(n: usize) -> Case<'static> {
    let mut balance = balance!(n);
    Case::new("tower", "p2c peak_ewma", n, move |times| {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..times {
            assert!(Service::<()>::poll_ready(&mut balance, &mut context).is_ready());
            ready(balance.call(())).expect("it answers");
        }
    })
}

/// Returns the case of the balancer behind a buffer, as necessary if several callers share it.
pub(crate) fn buffered(n: usize, runtime: &Runtime) -> Case<'_> {
    let balance = balance!(n);
    let mut buffer = runtime.block_on(async { Buffer::new(balance, 1_024) });
    Case::new("tower", "p2c peak_ewma, Buffer", n, move |times| {
        runtime.block_on(async {
            for _ in 0..times {
                poll_fn(|context| Service::<()>::poll_ready(&mut buffer, context)).await.expect("it lives");
                buffer.call(()).await.expect("it answers");
            }
        });
    })
}

fn breakers() -> Vec<Case<'static>> {
    let failsafe = failsafe::Config::new().build();
    let recloser = recloser::Recloser::custom().build();
    let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder().build().expect("valid");
    let endpoint: Endpoint =
        Endpoint::new(service_fn(|()| std::future::ready(Ok::<(), tower::BoxError>(()))));
    let mut resilience = layer.layer(endpoint);
    vec![
        Case::new("failsafe", "breaker", 1, move |times| {
            (0..times).for_each(|_| failsafe.call(|| Ok::<_, ()>(())).expect("closed"));
        }),
        Case::new("recloser", "breaker", 1, move |times| {
            (0..times).for_each(|_| recloser.call(|| Ok::<_, ()>(())).expect("closed"));
        }),
        Case::new("tower-resilience", "breaker", 1, move |times| {
            let mut context = Context::from_waker(Waker::noop());
            for _ in 0..times {
                assert!(resilience.poll_ready(&mut context).is_ready());
                assert!(ready(resilience.call(())).is_ok());
            }
        }),
    ]
}
