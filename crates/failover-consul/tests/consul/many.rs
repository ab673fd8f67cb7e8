//! Many services, many endpoints, many changes.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use failover_core::provider::{Provider, Query, Registry};
use failover_testkit::consul::AgentOptions;
use failover_testkit::servers::Server;
use failover_testkit::until;

use crate::fake::{Fake, good, instance};
use crate::support::{SECOND, builder, endpoint, has, ids, listen, name, next, see};

/// Row 11: more services than connections, on an agent that silently drops connections above its
/// limit.
#[tokio::test]
async fn row_11_services_beyond_the_connections_are_polled_and_that_is_said() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&said);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || Line(Arc::clone(&log)))
        .finish();
    let _guard = listen(subscriber);
    for server in [Server::Consul, Server::ConsulDebian] {
        let Some(agent) = (AgentOptions { connections: 30, ..AgentOptions::new(server) }).start() else {
            return;
        };
        said.lock().expect("one at a time").clear();
        let consul = builder(&agent.address()).connections(20).poll(SECOND / 2).build().expect("valid");
        let names: Vec<_> = (0..60).map(|n| name(&format!("s-{n}"))).collect();
        let mut streams: Vec<_> =
            names.iter().map(|name| consul.watch(&Query::service(name)).expect("it watches")).collect();
        for stream in &mut streams {
            next(stream, SECOND * 20).await.expect("a first answer");
        }
        until(SECOND * 10, "fifteen are watched and the others polled", || async {
            (consul.metrics().services, consul.metrics().polled) == (60, 45)
        })
        .await;
        // A change of each service is seen, whether it is watched or polled.
        let writer = builder(&agent.address()).connections(8).build().expect("valid");
        for name in &names {
            writer.register(&endpoint(&format!("in-{name}"), name.as_str(), 1)).await.expect("registers");
        }
        for (name, stream) in names.iter().zip(&mut streams) {
            see(stream, SECOND * 20, "its registration", has(&[&format!("in-{name}")])).await;
        }
        let logged = String::from_utf8(said.lock().expect("one at a time").clone()).expect("text");
        assert_eq!(logged.matches("polled every 500ms").count(), 45, "{logged}");
        assert!(!logged.contains("ERROR"), "{logged}");
        // A freed permit is used.
        streams.drain(..50);
        until(SECOND * 10, "all that are left are watched", || async { consul.metrics().polled == 0 }).await;
        writer.close().await.expect("closes");
    }
}

struct Line(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("one at a time").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A service has one watch, however many listeners it has; its connection closes with the last of
/// them.
#[tokio::test]
async fn row_11_listeners_of_a_service_share_one_watch() {
    let fake = Fake::start(&["a"]).await;
    let consul = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut streams: Vec<_> =
        (0..50).map(|_| consul.watch(&Query::service(&users)).expect("it watches")).collect();
    for stream in &mut streams {
        assert_eq!(ids(&next(stream, SECOND).await.expect("good")), ["a"]);
    }
    // One initial read and one blocking query.
    until(SECOND, "one connection", || async { fake.reads() == 2 && fake.server.open_connections() == 1 })
        .await;
    fake.set(&["a", "b"], 101);
    for stream in &mut streams {
        see(stream, SECOND, "the change", has(&["a", "b"])).await;
    }
    // A later listener immediately receives the current set and its age.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut late = consul.watch(&Query::service(&users)).expect("it watches");
    let set = next(&mut late, SECOND / 10).await.expect("good");
    assert!(set.age() >= Duration::from_millis(300), "{:?}", set.age());
    drop(streams);
    fake.set(&["a"], 102);
    see(&mut late, SECOND * 3, "the last listener is served still", has(&["a"])).await;
    drop(late);
    // Row 27: the blocking query and its connection are gone.
    until(SECOND, "no connection waits", || async {
        consul.metrics().services == 0 && fake.server.open_connections() <= 1
    })
    .await;
}

/// R11: a thousand changes per second cause at most two requests per second, and the newest is
/// seen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_without_end_are_read_at_a_bounded_rate() {
    let fake = Arc::new(Fake::start(&["a"]).await);
    let consul = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    next(&mut stream, SECOND).await.expect("good");
    let before = fake.reads();
    let begun = Instant::now();
    let mut index = 100;
    while begun.elapsed() < SECOND * 5 {
        index += 1;
        fake.set(&["a", &format!("b-{index}")], index);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let requests = fake.reads() - before;
    assert!((5..=12).contains(&requests), "{requests} requests in 5 s");
    let newest = format!("b-{index}");
    see(&mut stream, SECOND * 2, "the newest", has(&["a", &newest])).await;
}

/// Row 18: ten thousand instances, compressed, compared, and published once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn row_18_ten_thousand_instances() {
    let body = |changed: u8| {
        let all: Vec<_> = (0..10_000)
            .map(|n| {
                let last = if n == 0 { changed } else { 1 };
                instance(&format!("users-{n}"), last)
                    .replace("10.0.0.", &format!("10.{}.{}.", n / 250 + 1, n % 250))
            })
            .collect();
        format!("[{}]", all.join(","))
    };
    let fake = Fake::start(&[]).await;
    let (first, second) = (body(1), body(2));
    let answer = move |request: &failover_testkit::Request| {
        if !request.path().starts_with("/v1/health/service/") {
            return None;
        }
        let index = request.query("index").and_then(|index| index.parse::<u64>().ok()).unwrap_or(200) + 1;
        Some(good(index, if index > 203 { second.clone() } else { first.clone() }))
    };
    fake.fail(answer);
    let consul = builder(&fake.address()).build().expect("valid");
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    let set = next(&mut stream, SECOND * 10).await.expect("good");
    assert_eq!((set.entries().len(), set.rejected_count()), (10_000, 0));
    // The same answer causes no event; one changed address causes one.
    let set = next(&mut stream, SECOND * 60).await.expect("good");
    assert_eq!(set.entries().len(), 10_000);
    let changed = set.entries().iter().find(|entry| entry.endpoint().id() == "users-0").expect("there");
    assert_eq!(changed.endpoint().address(), "10.1.0.2");
    assert!(fake.reads() <= 6, "{} requests", fake.reads());
    let header = fake.server.requests()[0].header("accept-encoding").map(str::to_owned);
    assert_eq!(header.as_deref(), Some("gzip"));
}

/// R2: after a long outage the pauses are long, and a new listener ends them.
#[tokio::test]
async fn row_01_an_agent_that_is_back_after_long_is_found_within_five_seconds() {
    let port = failover_testkit::free_port();
    let consul = builder(&format!("127.0.0.1:{port}")).build().expect("valid");
    let users = name("users");
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    let begun = Instant::now();
    while begun.elapsed() < SECOND * 40 {
        let item =
            tokio::time::timeout(SECOND * 50, std::future::poll_fn(|c| stream.as_mut().poll_next(c))).await;
        assert!(item.expect("it says so").expect("it goes on").is_err());
    }
    let server = failover_testkit::FaultServer::start_at(port, |_| async {
        good(7, format!("[{}]", instance("a", 1)))
    });
    let _server = server.await;
    let back = Instant::now();
    see(&mut stream, SECOND * 20, "it is found", has(&["a"])).await;
    assert!(back.elapsed() < SECOND * 5, "{:?}", back.elapsed());
}

/// R1 and R2: an agent that is down from the start; nothing panics, and the requests are few.
#[tokio::test(start_paused = true)]
async fn row_01_an_outage_of_ten_minutes_costs_few_requests() {
    // A port that was free a moment ago: there is no listener.
    let address = format!("127.0.0.1:{}", failover_testkit::free_port());
    let consul = builder(&address).build().expect("valid");
    let users = name("users");
    assert!(consul.connect().await.is_err());
    let mut stream = consul.watch(&Query::service(&users)).expect("it watches");
    let before = consul.metrics().requests;
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < SECOND * 600 {
        let item = std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await;
        assert!(item.expect("it goes on").is_err());
    }
    let requests = consul.metrics().requests - before;
    assert!((20..=40).contains(&requests), "{requests} requests in ten minutes");
    assert!(consul.list(&Query::service(&users)).await.is_err());
}

/// R1: many services send about as many requests as one, because each benefits from the others'
/// results.
#[tokio::test(start_paused = true)]
async fn row_01_an_outage_of_ten_minutes_costs_many_services_little_more_than_one() {
    let address = format!("127.0.0.1:{}", failover_testkit::free_port());
    let consul = Arc::new(builder(&address).build().expect("valid"));
    let watching: Vec<_> = (0..20)
        .map(|n| {
            let consul = Arc::clone(&consul);
            tokio::spawn(async move {
                let service = name(&format!("s-{n}"));
                let mut stream = consul.watch(&Query::service(&service)).expect("it watches");
                let mut errors = 0;
                while std::future::poll_fn(|context| stream.as_mut().poll_next(context)).await.is_some() {
                    errors += 1;
                }
                errors
            })
        })
        .collect();
    tokio::time::sleep(SECOND * 600).await;
    let requests = consul.metrics().requests;
    assert!((40..=80).contains(&requests), "{requests} requests in ten minutes");
    consul.close().await.expect("closes");
    for one in watching {
        assert!(one.await.expect("ends") >= 1, "each received an error at least once");
    }
}
