//! Endpoints of `failover` from a JSON list behind a URL, which is asked for with its `ETag`.
//!
//! `GET {base}/{service}.json` answers with a list of endpoints, as `failover_core::Endpoint` reads
//! them. 304 repeats the list before, and 404 is a service that the server does not know.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use failover_core::provider::{ConnectionInfo, ConnectionStatus, EndpointSet, ProviderInfo};
use failover_core::{Endpoint, Error, ServiceName, async_trait};
use failover_provider_kit::{BaseUrl, HttpClient, Polled, Source};
use http::header::{ETAG, HeaderValue, IF_NONE_MATCH};
use http::{Request, StatusCode};

/// The lists of one server.
pub struct HttpList {
    client: HttpClient,
    base: BaseUrl,
    last: Mutex<HashMap<ServiceName, (HeaderValue, EndpointSet)>>,
}

impl HttpList {
    /// Creates a provider of the lists below a URL.
    pub fn provider(url: &str) -> Result<Polled<Self>, Error> {
        let base = BaseUrl::parse("url", url, 80, false)?;
        Ok(Polled::new(Self { client: HttpClient::builder().build()?, base, last: Mutex::default() }))
    }

    fn read(service: &ServiceName, text: &[u8]) -> Result<EndpointSet, Error> {
        // The parser's own message may quote what it read.
        let unreadable = |error: serde_json::Error| {
            Error::bad_answer(service, format!("line {}, column {}", error.line(), error.column()))
        };
        let entries: Vec<serde_json::Value> = serde_json::from_slice(text).map_err(unreadable)?;
        let mut set = EndpointSet::new([]);
        for entry in entries {
            let shown = entry["id"].as_str().unwrap_or("an entry without an id").to_owned();
            match serde_json::from_value::<Endpoint>(entry) {
                Ok(endpoint) if endpoint.service() == service => set.push(endpoint.into()),
                Ok(endpoint) => {
                    set.reject(shown, Error::invalid("name", endpoint.service(), service.as_str()))
                }
                Err(error) => set.reject(shown, Error::bad_answer(service, error)),
            }
        }
        Ok(set)
    }
}

#[async_trait]
impl Source for HttpList {
    fn info(&self) -> ProviderInfo {
        let connection = ConnectionInfo::new(ConnectionStatus::Disconnected).with_address(self.base.as_str());
        ProviderInfo::new("http-list", env!("CARGO_PKG_VERSION")).with_connection(connection)
    }

    async fn fetch(&self, service: &ServiceName) -> Result<EndpointSet, Error> {
        let what = format!("list {service}");
        let known = self.last.lock().unwrap_or_else(PoisonError::into_inner).get(service).cloned();
        let mut request = Request::get(self.base.join(&format!("/{service}.json"))?);
        if let Some((etag, _)) = &known {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let request = request.body(Default::default()).expect("the URL and the header are valid");
        let mut answer = self.client.send(request).await.map_err(|error| error.into_error(&what))?;
        match (answer.status(), known) {
            (StatusCode::NOT_MODIFIED, Some((_, set))) => return Ok(set),
            (StatusCode::NOT_FOUND, _) => return Ok(EndpointSet::unknown_service()),
            (StatusCode::OK, _) => {}
            _ => return Err(answer.status_error(&what)),
        }
        let etag = answer.headers().get(ETAG).cloned();
        let text = answer.read().await.map_err(|error| error.into_error(&what))?;
        let set = Self::read(service, &text)?;
        if let Some(etag) = etag {
            let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.insert(service.clone(), (etag, set.clone()));
        }
        Ok(set)
    }
}
