//! The provider contract.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use failover_conformance::{Level, Subject};
use failover_core::{Endpoint, Error, async_trait};

use super::*;

struct Written {
    _directory: TempDir,
    path: PathBuf,
    services: Mutex<BTreeMap<String, Vec<Endpoint>>>,
    /// The service that has broken entries.
    hostile: Mutex<String>,
}

impl Written {
    fn change(&self, endpoints: &[Endpoint], add: bool) {
        let mut services = self.services.lock().expect("not poisoned");
        for endpoint in endpoints {
            let known = services.entry(endpoint.service().to_string()).or_default();
            // Those of the suite's many endpoints are new or all removed.
            if endpoints.len() == 1 {
                known.retain(|known| known.id() != endpoint.id());
            } else if !add {
                known.clear();
            }
            if add {
                known.push(endpoint.clone());
            }
        }
        let mut text = serde_json::json!({ "services": *services });
        let hostile = self.hostile.lock().expect("not poisoned");
        if let Some(serde_json::Value::Array(entries)) = text["services"].get_mut(hostile.as_str()) {
            entries.splice(0..0, broken());
        }
        let new = self.path.with_extension("new");
        fs::write(&new, text.to_string()).expect("it is written");
        fs::rename(new, &self.path).expect("it is renamed");
    }

    fn make(&self) -> Arc<dyn Provider> {
        let builder = FileProvider::builder(&self.path).poll_interval(Duration::from_millis(250));
        Arc::new(builder.build().expect("a known ending"))
    }
}

#[async_trait]
impl Subject for Written {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = self.make();
        provider.connect().await.map(|()| provider)
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some(self.make()))
    }

    async fn write(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.change(std::slice::from_ref(endpoint), true);
        Ok(true)
    }

    async fn write_all(&self, _: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        self.change(endpoints, true);
        Ok(true)
    }

    async fn remove_all(&self, _: &dyn Provider, endpoints: &[Endpoint]) -> Result<bool, Error> {
        self.change(endpoints, false);
        Ok(true)
    }

    async fn hostile(&self, service: &str, begins: bool) -> bool {
        *self.hostile.lock().expect("not poisoned") = if begins { service.to_owned() } else { String::new() };
        self.change(&[], true);
        true
    }

    fn has_secrets(&self) -> bool {
        false
    }

    fn backend(&self) -> String {
        "a JSON file in a local directory".to_owned()
    }

    async fn remove(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.change(std::slice::from_ref(endpoint), false);
        Ok(true)
    }

    async fn outage(&self, begins: bool) -> bool {
        let away = self.path.with_extension("away");
        let (from, to) = if begins { (&self.path, &away) } else { (&away, &self.path) };
        // It is there already if no outage has begun.
        let _ = fs::rename(from, to);
        true
    }
}

/// Returns entries that no provider should believe.
fn broken() -> Vec<serde_json::Value> {
    let entry = |id: &str, address: &str, port: serde_json::Value, weight: serde_json::Value| serde_json::json!({ "id": id, "address": address, "port": port, "weight": weight });
    let (long, deep) = ("x".repeat(5_000), format!("{}{}", "[".repeat(100), "]".repeat(100)));
    vec![
        serde_json::json!({ "id": "no-port", "address": "10.9.9.1" }),
        entry("port-0", "10.9.9.2", 0.into(), 1.into()),
        entry("port-70000", "10.9.9.3", 70_000.into(), 1.into()),
        entry("weight-0", "10.9.9.4", 80.into(), 0.into()),
        entry("weight-negative", "10.9.9.5", 80.into(), (-1).into()),
        entry("weight-1e9", "10.9.9.6", 80.into(), 1e9.into()),
        entry("weight-text", "10.9.9.6", 80.into(), "heavy".into()),
        entry(&long, "10.9.9.7", 80.into(), 1.into()),
        entry("\u{1b}[31m\n\0", "10.9.9.8", 80.into(), 1.into()),
        entry("no-address", "", 80.into(), 1.into()),
        entry("bad-address", "no address\u{0}", 80.into(), 1.into()),
        entry("e1", "10.9.9.9", 80.into(), 1.into()),
        serde_json::from_str(&deep).expect("lists in lists"),
        serde_json::Value::Null,
        7.into(),
        "http://".into(),
        "{\"id\": ".into(),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_keeps_the_contract() {
    let (directory, path) = place("services.json");
    fs::write(&path, "{\"services\": {}}").expect("it is written");
    let written =
        Written { _directory: directory, path, services: Mutex::default(), hostile: Mutex::default() };
    let report = failover_conformance::run(&written).await;
    println!("{report}");
    report.assert_covers([1, 2, 3, 11, 20, 21, 22, 23, 30, 31, 32, 34, 35, 50, 52, 60, 61, 62]);
    for level in [Level::Read, Level::Watch, Level::Survive] {
        report.assert_level(level);
    }
}
