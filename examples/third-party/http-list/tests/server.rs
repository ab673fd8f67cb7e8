//! The provider against a server over TCP: the suite, and what only this protocol has.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use acme_http_list::HttpList;
use failover_conformance::{Level, Subject};
use failover_core::provider::{Provider, Query};
use failover_core::{Endpoint, Error, RetryAdvice, ServiceName, async_trait};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

#[derive(Default)]
struct Lists {
    services: Mutex<BTreeMap<String, Vec<Endpoint>>>,
    /// The service that has broken entries beside the others.
    hostile: Mutex<String>,
    is_down: Mutex<bool>,
    whole: AtomicUsize,
    not_modified: AtomicUsize,
}

impl Lists {
    /// Returns the head of the answer after its first line, and the body.
    fn answer(&self, path: &str, etag: Option<&str>) -> (String, String) {
        if *self.is_down.lock().expect("whole") {
            return ("503 Down\r\nretry-after: 1".to_owned(), String::new());
        }
        let service = path.trim_start_matches('/').trim_end_matches(".json");
        let services = self.services.lock().expect("whole");
        let Some(endpoints) = services.get(service) else {
            return ("404 Not Found".to_owned(), String::new());
        };
        let mut entries: Vec<_> = endpoints.iter().map(json).collect();
        if *self.hostile.lock().expect("whole") == service {
            entries.extend(BROKEN.map(str::to_owned));
        }
        let body = format!("[{}]", entries.join(","));
        let tag =
            format!("\"{:x}\"", body.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31) + u64::from(byte)));
        if etag == Some(&tag) {
            self.not_modified.fetch_add(1, Ordering::Relaxed);
            return (format!("304 Not Modified\r\netag: {tag}"), String::new());
        }
        self.whole.fetch_add(1, Ordering::Relaxed);
        (format!("200 OK\r\netag: {tag}"), body)
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        loop {
            let (mut path, mut etag) = (String::new(), None);
            loop {
                let mut line = String::new();
                if stream.read_line(&mut line).await? == 0 {
                    return Ok(());
                }
                match line.trim_end().split_once(' ') {
                    None => break,
                    Some(("GET", rest)) => path = rest.split(' ').next().unwrap_or_default().to_owned(),
                    Some((name, value)) if name.eq_ignore_ascii_case("if-none-match:") => {
                        etag = Some(value.to_owned())
                    }
                    Some(_) => {}
                }
            }
            let (head, body) = self.answer(&path, etag.as_deref());
            let text = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(text.as_bytes()).await?;
        }
    }
}

/// JSON that is no endpoint.
const BROKEN: [&str; 6] = [
    "null",
    "[]",
    r#"{"id": "x", "address": "10.9.9.9"}"#,
    r#"{"id": "x", "name": "users", "address": "10.9.9.9", "port": 70000}"#,
    r#"{"id": "x\u001b[2J", "name": "users", "address": "10.9.9.9", "port": 80}"#,
    r#"{"id": "x", "name": "users", "address": "", "port": 80, "weight": -1}"#,
];

fn json(endpoint: &Endpoint) -> String {
    serde_json::to_string(endpoint).expect("an endpoint is JSON")
}

struct Server {
    lists: Arc<Lists>,
    url: String,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let lists = Arc::new(Lists::default());
        let served = lists.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        Self { lists, url }
    }

    fn make(&self) -> Arc<dyn Provider> {
        let provider = HttpList::provider(&self.url).expect("a URL").interval(Duration::from_millis(250));
        Arc::new(provider.timeout(Duration::from_secs(1)))
    }

    fn put(&self, endpoint: &Endpoint, add: bool) {
        let mut services = self.lists.services.lock().expect("whole");
        let endpoints = services.entry(endpoint.service().to_string()).or_default();
        endpoints.retain(|known| known.id() != endpoint.id());
        if add {
            endpoints.push(endpoint.clone());
        }
    }
}

#[async_trait]
impl Subject for Server {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = self.make();
        provider.connect().await.map(|()| provider)
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some(self.make()))
    }

    async fn write(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.put(endpoint, true);
        Ok(true)
    }

    async fn remove(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.put(endpoint, false);
        Ok(true)
    }

    async fn write_all(&self, _: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        let mut services = self.lists.services.lock().expect("whole");
        for endpoint in endpoints {
            services.entry(endpoint.service().to_string()).or_default().push(endpoint.clone());
        }
        Ok(true)
    }

    async fn remove_all(&self, _: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        let mut services = self.lists.services.lock().expect("whole");
        for service in endpoints.iter().map(Endpoint::service) {
            services.remove(service.as_str());
        }
        Ok(true)
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        *self.lists.hostile.lock().expect("whole") = if begins { service.to_owned() } else { String::new() };
        true
    }

    fn has_secrets(&self) -> bool {
        false
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(20)
    }

    async fn outage(&self, begins: bool) -> bool {
        *self.lists.is_down.lock().expect("whole") = begins;
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_keeps_the_contract() {
    let report = failover_conformance::run(&Server::start().await).await;
    println!("{report}");
    for level in [Level::Read, Level::Watch, Level::Survive] {
        report.assert_level(level);
    }
}

fn users() -> (Query, Endpoint) {
    let name = ServiceName::new("users").expect("a name");
    (Query::service(&name), Endpoint::builder("users-1", "users", "10.0.0.1", 80).build().expect("valid"))
}

#[tokio::test]
async fn a_list_that_has_not_changed_is_not_sent_again() {
    let (server, (query, endpoint)) = (Server::start().await, users());
    server.put(&endpoint, true);
    let provider = server.make();
    let first = provider.list(&query).await.expect("a list");
    assert_eq!(provider.list(&query).await.expect("the same").entries().len(), first.entries().len());
    let sent = |count: &AtomicUsize| count.load(Ordering::Relaxed);
    assert_eq!((sent(&server.lists.whole), sent(&server.lists.not_modified)), (1, 1));
}

#[tokio::test]
async fn a_server_that_is_down_says_when_to_come_back() {
    let (server, (query, _)) = (Server::start().await, users());
    server.outage(true).await;
    let error = server.make().list(&query).await.expect_err("it is down");
    assert_eq!(error.retry(), RetryAdvice::After(Duration::from_secs(1)), "{error}");
}

#[tokio::test]
async fn an_entry_that_is_no_endpoint_of_the_service_is_rejected_alone() {
    let (server, (query, endpoint)) = (Server::start().await, users());
    server.put(&endpoint, true);
    let stranger = Endpoint::builder("orders-1", "orders", "10.0.0.2", 80).build().expect("valid");
    server.lists.services.lock().expect("whole").get_mut("users").expect("there").push(stranger);
    let set = server.make().list(&query).await.expect("a list");
    assert_eq!((set.entries().len(), set.rejected()[0].what()), (1, "orders-1"));
}
