//! Requests to the API server on plain JSON, which preserves fields that a newer server adds.

use std::fmt::Write as _;

use failover_core::{Error, ErrorKind, codes};
use http::Method;
use serde_json::{Value, json};

use crate::client::{ApiClient, ApiRequest, EventReceiver};
use crate::error;
use crate::names::MANAGER;

/// The number of objects per page of a list.
const PAGE: usize = 100;
/// The maximum number of objects in a list: the engine's maximum of endpoints.
const MAX_OBJECTS: usize = 100_000;
/// The maximum number of pages of a list: a server may return smaller pages than requested.
const MAX_PAGES: usize = 2 * MAX_OBJECTS / PAGE;
/// The user of requests without credentials.
const ANONYMOUS: &str = "system:anonymous";
/// How often a list restarts if it expires between two pages.
const RESTARTS: usize = 3;

/// A kind of API object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Slices,
    Leases,
    ConfigMaps,
    Services,
    Pods,
}

impl Kind {
    fn plural(self) -> &'static str {
        match self {
            Self::Slices => "endpointslices",
            Self::Leases => "leases",
            Self::ConfigMaps => "configmaps",
            Self::Services => "services",
            Self::Pods => "pods",
        }
    }

    fn group(self) -> &'static str {
        match self {
            Self::Slices => "/apis/discovery.k8s.io/v1",
            Self::Leases => "/apis/coordination.k8s.io/v1",
            Self::ConfigMaps | Self::Services | Self::Pods => "/api/v1",
        }
    }

    fn api_group(self) -> &'static str {
        match self {
            Self::Slices => "discovery.k8s.io",
            Self::Leases => "coordination.k8s.io",
            Self::ConfigMaps | Self::Services | Self::Pods => "",
        }
    }
}

/// A selection of objects of one kind.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    pub(crate) kind: Kind,
    /// A label selector; empty for all.
    pub(crate) labels: String,
}

impl Scope {
    pub(crate) fn labelled(kind: Kind, labels: impl Into<String>) -> Self {
        Self { kind, labels: labels.into() }
    }

    fn query(&self) -> String {
        if self.labels.is_empty() {
            return String::new();
        }
        format!("labelSelector={}&", encoded(&self.labels))
    }
}

/// The API of one namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Api<'a> {
    pub(crate) client: &'a ApiClient,
    pub(crate) namespace: &'a str,
}

impl Api<'_> {
    fn target(&self, kind: Kind, name: &str) -> String {
        let slash = if name.is_empty() { "" } else { "/" };
        format!("{}/namespaces/{}/{}{slash}{}", kind.group(), self.namespace, kind.plural(), encoded(name))
    }

    fn what(&self, verb: &str, kind: Kind, name: &str) -> String {
        let space = if name.is_empty() { "" } else { " " };
        format!("{verb} {}{space}{name} in namespace {}", kind.plural(), self.namespace)
    }

    fn ask(&self, method: Method, verb: &str, kind: Kind, name: &str) -> ApiRequest {
        let path_name = if method == Method::POST { "" } else { name };
        ApiRequest {
            method,
            target: self.target(kind, path_name),
            body: None,
            what: self.what(verb, kind, name),
        }
    }

    /// Lists all objects of a scope, converting each as its page arrives. Returns them with the
    /// version of the list.
    pub(crate) async fn list<T>(
        &self,
        scope: &Scope,
        mut read: impl FnMut(Value) -> T,
    ) -> Result<(Vec<T>, String), Error> {
        let mut restarts = 0;
        'again: loop {
            let mut objects = Vec::new();
            let mut next = String::new();
            let mut pages = 0;
            loop {
                let page = match self.page(scope, &next, PAGE).await {
                    // The server no longer keeps this version of the list; the pages read so far
                    // are discarded.
                    Err(error)
                        if !next.is_empty() && error::status(&error) == Some(410) && restarts < RESTARTS =>
                    {
                        restarts += 1;
                        continue 'again;
                    }
                    page => page?,
                };
                let Value::Object(mut page) = page else {
                    return Err(Error::bad_answer(self.what("list", scope.kind, ""), "it is no list"));
                };
                let Some(Value::Object(metadata)) = page.remove("metadata") else {
                    return Err(Error::bad_answer(self.what("list", scope.kind, ""), "it has no metadata"));
                };
                match page.remove("items") {
                    // Checked before conversion: an object takes more memory than its encoding.
                    Some(Value::Array(items)) if objects.len() + items.len() > MAX_OBJECTS => {
                        let why = format!("there are more than {MAX_OBJECTS} objects");
                        return Err(Error::bad_answer(self.what("list", scope.kind, ""), &why));
                    }
                    Some(Value::Array(items)) => objects.extend(items.into_iter().map(&mut read)),
                    None | Some(Value::Null) => {}
                    Some(_) => {
                        return Err(Error::bad_answer(
                            self.what("list", scope.kind, ""),
                            "its items are no list",
                        ));
                    }
                }
                let text =
                    |key: &str| metadata.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                let before: String = std::mem::replace(&mut next, text("continue"));
                pages += 1;
                if !next.is_empty() && (next == before || pages > MAX_PAGES) {
                    return Err(Error::bad_answer(
                        self.what("list", scope.kind, ""),
                        "its pages have no end",
                    ));
                }
                if next.is_empty() {
                    return Ok((objects, text("resourceVersion")));
                }
            }
        }
    }

    /// Lists the first objects of a scope, by name. Returns whether these are all.
    pub(crate) async fn first<T>(
        &self,
        scope: &Scope,
        limit: usize,
        read: impl FnMut(Value) -> T,
    ) -> Result<(Vec<T>, bool), Error> {
        let mut page = self.page(scope, "", limit).await?;
        let is_whole = page.pointer("/metadata/continue").and_then(Value::as_str).is_none_or(str::is_empty);
        match page.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok((items.into_iter().take(limit).map(read).collect(), is_whole)),
            None | Some(Value::Null) if page.get("metadata").is_some() => Ok((Vec::new(), is_whole)),
            _ => Err(Error::bad_answer(self.what("list", scope.kind, ""), "it is no list")),
        }
    }

    async fn page(&self, scope: &Scope, next: &str, limit: usize) -> Result<Value, Error> {
        let mut target = format!("{}?{}limit={limit}", self.target(scope.kind, ""), scope.query());
        if !next.is_empty() {
            let _ = write!(target, "&continue={}", encoded(next));
        }
        self.client.object(&ApiRequest::get(target, self.what("list", scope.kind, ""))).await
    }

    /// Opens a watch from a version, for this many seconds.
    pub(crate) async fn watch(
        &self,
        scope: &Scope,
        version: &str,
        seconds: u64,
    ) -> Result<EventReceiver, Error> {
        let target = format!(
            "{}?{}watch=true&allowWatchBookmarks=true&resourceVersion={}&timeoutSeconds={seconds}",
            self.target(scope.kind, ""),
            scope.query(),
            encoded(version),
        );
        self.client.events(&ApiRequest::get(target, self.what("watch", scope.kind, ""))).await
    }

    /// Returns an object, or `None` if it does not exist.
    pub(crate) async fn get(&self, kind: Kind, name: &str) -> Result<Option<Value>, Error> {
        absent(self.client.object(&self.ask(Method::GET, "get", kind, name)).await)
    }

    /// Returns a node, which is in no namespace.
    pub(crate) async fn node(&self, name: &str) -> Result<Value, Error> {
        let ask = ApiRequest::get(format!("/api/v1/nodes/{}", encoded(name)), format!("get node {name}"));
        self.client.object(&ask).await
    }

    /// Creates an object; returns `Conflict` if it exists.
    pub(crate) async fn create(&self, kind: Kind, name: &str, object: Value) -> Result<Value, Error> {
        let mut ask = self.ask(Method::POST, "create", kind, name);
        let _ = write!(ask.target, "?fieldManager={MANAGER}");
        ask.body = Some(("application/json", object));
        self.client.object(&ask).await
    }

    /// Replaces an object if its version is still the one in `object`. Returns `Conflict` if it has
    /// another version, `None` if it does not exist.
    pub(crate) async fn replace(
        &self,
        kind: Kind,
        name: &str,
        object: Value,
    ) -> Result<Option<Value>, Error> {
        let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        if version.is_empty() {
            // Without a version the write would be unconditional.
            return Err(Error::bad_answer(self.what("update", kind, name), "the object has no version"));
        }
        let mut ask = self.ask(Method::PUT, "update", kind, name);
        let _ = write!(ask.target, "?fieldManager={MANAGER}");
        ask.body = Some(("application/json", object));
        absent(self.client.object(&ask).await)
    }

    /// Writes an object by server-side apply, creating it if necessary; its fields then belong to
    /// this manager.
    pub(crate) async fn apply(&self, kind: Kind, name: &str, object: Value) -> Result<Value, Error> {
        let mut ask = self.ask(Method::PATCH, "patch", kind, name);
        let _ = write!(ask.target, "?fieldManager={MANAGER}&force=true");
        // JSON is valid YAML.
        ask.body = Some(("application/apply-patch+yaml", object));
        self.client.object(&ask).await
    }

    /// Deletes the object with this uid, and only in this version if one is given. Returns false if
    /// it does not exist, and `Conflict` if another object has the name.
    pub(crate) async fn delete(
        &self,
        kind: Kind,
        name: &str,
        uid: &str,
        version: Option<&str>,
    ) -> Result<bool, Error> {
        let mut preconditions = json!({"uid": uid});
        if let Some(version) = version {
            preconditions["resourceVersion"] = version.into();
        }
        let mut ask = self.ask(Method::DELETE, "delete", kind, name);
        let options = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions});
        ask.body = Some(("application/json", options));
        Ok(absent(self.client.object(&ask).await)?.is_some())
    }

    /// Returns an error if the server takes this client for an anonymous one: its credentials are
    /// missing or were dropped on the way.
    pub(crate) async fn ensure_known(&self) -> Result<(), Error> {
        let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"});
        let ask = ApiRequest {
            method: Method::POST,
            target: "/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned(),
            body: Some(("application/json", review)),
            what: format!("ask {} who we are", self.client.named()),
        };
        let is_anonymous = match self.client.object(&ask).await {
            Ok(review) => {
                review.pointer("/status/userInfo/username").and_then(Value::as_str) == Some(ANONYMOUS)
            }
            // The server shows whom it refuses. Others may lack the right, or be older than 1.28.
            Err(error) if error::status(&error) == Some(403) => error.to_string().contains(ANONYMOUS),
            Err(error) if error::status(&error).is_some_and(|status| status != 401) => false,
            Err(error) => return Err(error),
        };
        if !is_anonymous {
            return Ok(());
        }
        let message = format!(
            "{}: the API server takes this client for {ANONYMOUS}: it names no credentials that the server knows",
            self.client.named()
        );
        Err(Error::new(ErrorKind::Permission, message).with_code(codes::UNAUTHENTICATED))
    }

    /// Returns an error that names the missing permission if this user lacks it.
    pub(crate) async fn ensure_allowed(&self, verb: &str, kind: Kind) -> Result<(), Error> {
        let what = format!("ask whether we may {verb} {}", kind.plural());
        let review = json!({
            "kind": "SelfSubjectAccessReview",
            "apiVersion": "authorization.k8s.io/v1",
            "spec": {"resourceAttributes": {
                "namespace": self.namespace, "verb": verb, "group": kind.api_group(), "resource": kind.plural(),
            }},
        });
        let ask = ApiRequest {
            method: Method::POST,
            target: "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned(),
            body: Some(("application/json", review)),
            what,
        };
        let review = match self.client.object(&ask).await {
            Ok(review) => review,
            // If the review itself is not allowed, the request shows it.
            Err(error) if matches!(error::status(&error), Some(403 | 404)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if review.pointer("/status/allowed") != Some(&Value::Bool(false)) {
            return Ok(());
        }
        let message = format!(
            "the credentials do not allow to {verb} {} (group {:?}) in namespace {}; bind a Role with that right",
            kind.plural(),
            kind.api_group(),
            self.namespace,
        );
        Err(Error::new(ErrorKind::Permission, message)
            .with_detail("verb", verb)
            .with_detail("resource", kind.plural()))
    }
}

/// Turns a 404 into `None`.
fn absent(answer: Result<Value, Error>) -> Result<Option<Value>, Error> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error::status(&error) == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Percent-encodes a text for a path segment or a query value.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_target_is_encoded() {
        assert_eq!(encoded("kubernetes.io/service-name=users"), "kubernetes.io%2Fservice-name%3Dusers");
        assert_eq!(encoded("a b?c#d/..%2e\r\nü"), "a%20b%3Fc%23d%2F..%252e%0D%0A%C3%BC");
        let scope = Scope::labelled(Kind::ConfigMaps, "a&b");
        assert_eq!(scope.query(), "labelSelector=a%26b&");
        assert_eq!(Scope::labelled(Kind::Pods, "").query(), "");
    }
}
