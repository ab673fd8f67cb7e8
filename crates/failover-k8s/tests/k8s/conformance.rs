//! The published conformance suite, with exactly the permissions of the documented roles.

use std::sync::Arc;
use std::time::Duration;

use failover_conformance::Subject;
use failover_core::provider::Provider;
use failover_core::{Error, async_trait};
use failover_testkit::kubernetes::ControlPlane;
use tokio::sync::Mutex;

use crate::harness::{Space, directory, rough, shared};

struct Kubernetes<'a> {
    plane: Mutex<&'a mut ControlPlane>,
    template: failover_k8s::KubernetesProviderBuilder,
    token: String,
}

#[async_trait]
impl Subject for Kubernetes<'_> {
    async fn provider(&self) -> Result<Arc<dyn Provider>, Error> {
        let provider = self.template.clone().build().await?;
        provider.connect().await?;
        Ok(shared(provider))
    }

    async fn unconnected(&self) -> Result<Option<Arc<dyn Provider>>, Error> {
        Ok(Some(shared(self.template.clone().build().await?)))
    }

    fn patience(&self) -> Duration {
        Duration::from_secs(15)
    }

    async fn outage(&self, begins: bool) -> bool {
        let mut plane = self.plane.lock().await;
        if begins {
            plane.kill_apiserver();
        } else if !plane.is_running() {
            plane.start_apiserver().await;
        }
        true
    }

    fn secrets(&self) -> Vec<String> {
        vec![self.token.clone()]
    }

    fn shown(&self) -> Vec<String> {
        vec![format!("{:?}", self.template)]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_provider_contract_on_a_real_api_server() {
    let Some(mut plane) = rough().await else { return };
    let plane = plane.as_mut().expect("it was started");
    let (template, token) = {
        let space = Space::new(&*plane).await;
        (space.builder(), space.token.clone())
    };
    let subject = Kubernetes { plane: Mutex::new(plane), template, token };
    let report = failover_conformance::run(&subject).await;
    println!("{report}");
    report.assert();
}

/// F34: the same server, speaking as a version of two years ago did, without later additions to
/// lists.
#[tokio::test(flavor = "multi_thread")]
async fn it_keeps_the_provider_contract_on_an_older_version() {
    let flags = ["--emulated-version=kube=1.34", "--feature-gates=kube:WatchList=false"];
    let Some(mut plane) = ControlPlane::start_with(&directory("older"), &flags).await else { return };
    let (template, token) = {
        let space = Space::new(&plane).await;
        (space.builder(), space.token.clone())
    };
    let subject = Kubernetes { plane: Mutex::new(&mut plane), template, token };
    let report = failover_conformance::run(&subject).await;
    println!("{report}");
    report.assert();
}
