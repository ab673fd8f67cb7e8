//! The provider contract.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use failover_conformance::Subject;
use failover_core::{Endpoint, Error, async_trait};

use super::*;

struct Written {
    _directory: TempDir,
    path: PathBuf,
    services: Mutex<BTreeMap<String, Vec<Endpoint>>>,
}

impl Written {
    fn change(&self, endpoint: &Endpoint, add: bool) {
        let mut services = self.services.lock().expect("not poisoned");
        let endpoints = services.entry(endpoint.service().to_string()).or_default();
        endpoints.retain(|known| known.id() != endpoint.id());
        if add {
            endpoints.push(endpoint.clone());
        }
        let text = serde_json::json!({ "services": *services }).to_string();
        let new = self.path.with_extension("new");
        fs::write(&new, text).expect("it is written");
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
        self.change(endpoint, true);
        Ok(true)
    }

    async fn remove(&self, _: &dyn Provider, endpoint: &Endpoint) -> Result<bool, Error> {
        self.change(endpoint, false);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_keeps_the_contract() {
    let (directory, path) = place("services.json");
    fs::write(&path, "{\"services\": {}}").expect("it is written");
    let report =
        failover_conformance::run(&Written { _directory: directory, path, services: Mutex::default() }).await;
    println!("{report}");
    report.assert_covers([1, 2, 3, 11, 20, 21, 22, 23, 30, 31, 32, 34, 35, 50, 52]);
}
