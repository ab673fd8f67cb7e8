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

/// Publishes one endpoint, and returns it as the service has it.
fn put(users: &ServiceHandle, source: SourceId, endpoint: crate::EndpointBuilder) -> Arc<Endpoint> {
    let endpoint = endpoint.build().expect("valid");
    let id = endpoint.id().to_string();
    users.engine().publish(source, vec![EndpointEntry::new(endpoint)], false, Duration::ZERO);
    users.endpoint(&id).expect("is there")
}

fn base() -> crate::EndpointBuilder {
    base_at("10.0.0.2", 80)
}

fn base_at(address: &str, port: u16) -> crate::EndpointBuilder {
    let check = crate::HealthCheck::builder().path("/a").build().expect("valid");
    let builder = Endpoint::builder("b", "users", address, port);
    builder.protocol("http").metadata("pool", "8").health_check(check)
}

#[test]
fn a_change_that_a_client_is_made_of_makes_a_new_value_and_no_other_does() {
    let check = crate::HealthCheck::builder().path("/b").build().expect("valid");
    let at = |seconds| std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    for (what, changed, kept) in [
        ("protocol", base().protocol("https"), false),
        ("server name", base().server_name("users.example"), false),
        ("metadata", base().metadata("pool", "9"), false),
        ("more metadata", base().metadata("schema", "2"), false),
        ("tags", base().tag("canary"), false),
        ("zone", base().zone("eu-1"), false),
        ("region", base().region("eu"), false),
        ("port", base_at("10.0.0.2", 81), false),
        ("weight", base().weight(7), true),
        ("priority", base().priority(3), true),
        ("health check", base().health_check(check), true),
        ("times", base().created_at(at(1)).updated_at(at(2)), true),
    ] {
        let (users, source) = service(&[("a", "10.0.0.1")]);
        let before = put(&users, source, base());
        let values = PerEndpoint::<Arc<Endpoint>>::new(&users);
        let first = values.get_or_init(&before, |endpoint| Arc::new(endpoint.clone()));
        let now = put(&users, source, changed);
        assert_eq!(values.get(&now).is_some(), kept, "{what}");
        // A call that still has the endpoint as it was.
        let late = values.get_or_init(&before, |endpoint| Arc::new(endpoint.clone()));
        assert_eq!(Arc::ptr_eq(&late, &first), kept, "{what}");
        assert_eq!((**late).protocol(), before.protocol(), "{what}: made for what the call has");
        let new = values.get_or_init(&now, |endpoint| Arc::new(endpoint.clone()));
        assert_eq!(Arc::ptr_eq(&new, &first), kept, "{what}");
        assert!(kept || **new == *now, "{what}");
        assert_eq!(values.len(), 1, "{what}");
    }
}

#[test]
fn the_caller_chooses_what_counts() {
    let (users, source) = service(&[("a", "10.0.0.1")]);
    let before = put(&users, source, base());
    let values = PerEndpoint::<u8>::with_identity(&users, |before, now| before.weight() == now.weight());
    values.replace(&before, 1);
    let now = put(&users, source, base().protocol("https"));
    assert_eq!(values.get(&now).as_deref(), Some(&1));
    let now = put(&users, source, base().weight(9));
    assert_eq!(values.get(&now), None);
    // At another place a value is new whatever the choice.
    let always = PerEndpoint::<u8>::with_identity(&users, |_, _| true);
    always.replace(&now, 1);
    let moved = put(&users, source, base_at("10.0.0.22", 80));
    assert_eq!((always.get(&moved), always.len()), (None, 0));
    let panics = PerEndpoint::<u8>::with_identity(&users, |_, _| panic!("a bug of the caller"));
    assert_eq!(*panics.get_or_init(&moved, |_| 5), 5);
    put(&users, source, base_at("10.0.0.22", 80).weight(3));
    assert!(panics.is_empty());
}

#[tokio::test]
async fn a_dead_value_is_replaced_once() {
    let (users, _) = service(&[("a", "10.0.0.1")]);
    let a = users.endpoint("a").expect("is there");
    let values = PerEndpoint::<u32>::new(&users);
    assert_eq!((values.get(&a), values.remove(&a)), (None, None));
    let dead = values.get_or_init(&a, |_| 1);
    assert!(values.remove_if_same(&a, &dead));
    let new = values.get_or_init(&a, |_| 2);
    assert!(!values.remove_if_same(&a, &dead), "the second caller with the dead one");
    assert!(Arc::ptr_eq(&values.get(&a).expect("stays"), &new));
    assert_eq!(values.replace(&a, 3).as_deref(), Some(&2));
    assert_eq!(values.remove(&a).as_deref(), Some(&3));
    assert!(values.is_empty());

    // A value that is being made is received by its caller, and not stored after its removal.
    let (begin, begun) = tokio::sync::oneshot::channel::<()>();
    let making = values.get_or_try_init(&a, || async {
        begun.await.expect("sent");
        Ok::<_, Infallible>(4)
    });
    let others = async {
        assert_eq!(values.remove(&a), None, "nothing is made yet");
        assert_eq!(values.replace(&a, 5), None);
        begin.send(()).expect("waits");
    };
    let (made, ()) = tokio::join!(making, others);
    assert_eq!((*made.expect("made"), *values.get(&a).expect("replaced")), (4, 5));
}

#[test]
fn a_value_for_an_endpoint_that_left_is_not_stored() {
    let (users, source) = service(&[("a", "10.0.0.1")]);
    let gone = put(&users, source, base());
    publish(&users, source, &[]);
    let values = PerEndpoint::<u8>::new(&users);
    assert_eq!((values.replace(&gone, 1), values.get(&gone), values.len()), (None, None, 0));
}
