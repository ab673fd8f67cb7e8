use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::engine::SourceId;
use crate::model::endpoint::EndpointEntry;

fn endpoint(id: &str, address: &str) -> Endpoint {
    Endpoint::builder(id, "users", address, 80).build().expect("valid")
}

fn service(endpoints: &[(&str, &str)]) -> (ServiceHandle, SourceId) {
    let all = endpoints.iter().map(|(id, address)| endpoint(id, address));
    let users = ServiceHandle::fixed("users", all).expect("valid");
    let source = users.engine().add_source(Arc::from("later"), 0);
    (users, source)
}

/// Publishes endpoints in the second source; the fixed list stays.
fn publish(users: &ServiceHandle, source: SourceId, endpoints: &[(&str, &str)]) {
    let entries = endpoints.iter().map(|(id, address)| EndpointEntry::new(endpoint(id, address))).collect();
    users.engine().publish(source, entries, false, Duration::ZERO);
}

struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_first_uses_at_once_make_one_value_for_each_endpoint() {
    let (users, _) = service(&[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")]);
    for sync in [true, false] {
        let values = PerEndpoint::<String>::new(&users);
        let made = Arc::new(AtomicUsize::new(0));
        let uses: Vec<_> = (0..1_000)
            .map(|_| {
                let (users, values, made) = (users.clone(), values.clone(), Arc::clone(&made));
                tokio::spawn(async move {
                    let pick = users.select_owned().expect("there are some");
                    let make = |endpoint: &Endpoint| {
                        made.fetch_add(1, Ordering::SeqCst);
                        endpoint.authority()
                    };
                    let value = if sync {
                        values.get_or_init(pick.endpoint(), make)
                    } else {
                        let making = || async {
                            tokio::time::sleep(Duration::from_millis(5)).await;
                            Ok::<_, Infallible>(make(pick.endpoint()))
                        };
                        values.get_or_try_init(pick.endpoint(), making).await.expect("made")
                    };
                    assert_eq!(*value, pick.endpoint().authority());
                })
            })
            .collect();
        for one in uses {
            one.await.expect("no panic");
        }
        assert_eq!((made.load(Ordering::SeqCst), values.len()), (3, 3));
    }
}

#[test]
fn a_value_goes_with_its_endpoint_and_is_recreated_at_another_address() {
    let (users, source) = service(&[("a", "10.0.0.1")]);
    publish(&users, source, &[("b", "10.0.0.2")]);
    let alive = Arc::new(AtomicUsize::new(0));
    let values = PerEndpoint::<Counted>::new(&users);
    let get = |endpoint: &Endpoint| {
        values.get_or_init(endpoint, |_| {
            alive.fetch_add(1, Ordering::SeqCst);
            Counted(Arc::clone(&alive))
        })
    };
    for id in ["a", "b", "a", "b"] {
        drop(get(&users.endpoint(id).expect("is there")));
    }
    assert_eq!((alive.load(Ordering::SeqCst), values.len()), (2, 2));

    let old = users.endpoint("b").expect("is there");
    publish(&users, source, &[("b", "10.0.0.22")]);
    assert_eq!((alive.load(Ordering::SeqCst), values.len()), (1, 1), "the old one is dropped at once");
    // A call to the old address is still in flight: it receives a value that is not stored.
    drop(get(&old));
    assert_eq!((alive.load(Ordering::SeqCst), values.len()), (1, 1));
    drop(get(&users.endpoint("b").expect("is there")));
    assert_eq!((alive.load(Ordering::SeqCst), values.len()), (2, 2));

    let held = get(&users.endpoint("b").expect("is there"));
    publish(&users, source, &[]);
    assert_eq!((alive.load(Ordering::SeqCst), values.len()), (2, 1), "its user still holds it");
    drop(held);
    assert_eq!(alive.load(Ordering::SeqCst), 1);
    // A change that keeps the endpoint's address keeps its value.
    publish(&users, source, &[("d", "10.0.0.4")]);
    assert_eq!(values.len(), 1);
}

#[tokio::test]
async fn what_could_not_be_made_is_made_by_the_next_use() {
    let (users, _) = service(&[("a", "10.0.0.1")]);
    let a = users.endpoint("a").expect("is there");
    let values = PerEndpoint::<u32>::new(&users);
    let failed = values.get_or_try_init(&a, || async { Err::<u32, _>("refused") }).await;
    assert_eq!(failed.expect_err("it fails"), "refused");
    let dropped = values.get_or_try_init(&a, std::future::pending::<Result<u32, ()>>);
    assert!(tokio::time::timeout(Duration::from_millis(1), dropped).await.is_err());
    assert_eq!(*values.get_or_try_init(&a, || async { Ok::<_, ()>(7) }).await.expect("made"), 7);
    assert_eq!(*values.get_or_init(&a, |_| unreachable!("it is made")), 7);
}
