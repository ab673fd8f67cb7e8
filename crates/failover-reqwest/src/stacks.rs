//! The layers and clients of the services that were called.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use failover_core::ServiceName;
use failover_http::service_name;
use failover_tower::{EndpointServices, Failover, FailoverLayer};
use reqwest::{Body, Client, Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use crate::error::Error;
use crate::make::{MakeClient, Sender};
use crate::middleware::Configure;
use crate::rules::reqwest_rules;
use crate::send;
use crate::services::Services;

/// The maximum number of services whose clients are kept.
const MAX_SERVICES: usize = 1_000;

/// A layer over a client per server name, for each service.
pub(crate) struct Stacks {
    services: Services,
    configure: Arc<Configure>,
    make: MakeClient,
    /// Emptied when it is full: the names come from URLs, and may come from anywhere.
    by_name: Mutex<HashMap<ServiceName, Stack>>,
}

type Stack = Failover<EndpointServices<MakeClient, Sender>>;

impl Stacks {
    pub(crate) fn new(services: Services, configure: Arc<Configure>, make: MakeClient) -> Self {
        Self { services, configure, make, by_name: Mutex::default() }
    }

    pub(crate) fn services(&self) -> &Services {
        &self.services
    }

    /// The client of endpoints without a server name.
    pub(crate) fn shared(&self) -> &Client {
        &self.make.shared
    }

    pub(crate) async fn execute(&self, request: Request) -> Result<Response, Error> {
        let request = http::Request::<Body>::try_from(request)?;
        let mut stack = self.stack(&service_name(request.uri())?).await?;
        poll_fn(|context| Service::<http::Request<Body>>::poll_ready(&mut stack, context)).await?;
        Ok(send::response(stack.call(request).await?))
    }

    async fn stack(&self, name: &ServiceName) -> Result<Stack, Error> {
        if let Some(stack) = self.by_name(|stacks| stacks.get(name).cloned()) {
            return Ok(stack);
        }
        let service = self.services.find(name).await?;
        let clients = EndpointServices::new(&service, self.make.clone());
        let layer = FailoverLayer::new(service).with_rules(reqwest_rules());
        let made = (self.configure)(layer).per_endpoint().layer(clients);
        Ok(self.by_name(|stacks| {
            if stacks.len() >= MAX_SERVICES {
                stacks.clear();
            }
            // Another request may have made it meanwhile; both use the same one.
            stacks.entry(name.clone()).or_insert(made).clone()
        }))
    }

    fn by_name<T>(&self, with: impl FnOnce(&mut HashMap<ServiceName, Stack>) -> T) -> T {
        with(&mut self.by_name.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
