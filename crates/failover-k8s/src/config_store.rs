//! The configuration store: each document is a `ConfigMap`.

use std::sync::Arc;

use failover_core::provider::{ConfigKey, ConfigStore, ConfigStream, Revision, StoredConfig};
use failover_core::{Error, ErrorKind, Time, async_trait};
use failover_provider_kit::{MAX_DOCUMENT_BYTES, Publisher};
use serde_json::{Value, json};

use crate::api::{Kind, Scope};
use crate::names;
use crate::provider::KubernetesProvider;
use crate::reflector::{Periods, ReflectorStore, follow};
use crate::slice_store::identity;

/// A revision names the object and its version (`uid/resourceVersion`), so an object that was
/// deleted and recreated has another revision.
#[async_trait]
impl ConfigStore for KubernetesProvider {
    async fn load(&self, key: &ConfigKey) -> Result<Option<StoredConfig>, Error> {
        self.cluster.client.ensure_open()?;
        match self.cluster.api().get(Kind::ConfigMaps, &names::config(key)).await? {
            Some(object) => stored(&object).map(Some),
            None => Ok(None),
        }
    }

    async fn store(
        &self,
        key: &ConfigKey,
        document: &str,
        expected: Option<&Revision>,
    ) -> Result<Revision, Error> {
        self.cluster.client.ensure_open()?;
        if document.len() > MAX_DOCUMENT_BYTES {
            return Err(Error::document_too_large(document.len(), MAX_DOCUMENT_BYTES));
        }
        let api = self.cluster.api();
        let name = names::config(key);
        let Some(expected) = expected else {
            let object = json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {
                    "name": name,
                    "namespace": self.cluster.settings.namespace,
                    "labels": {names::CONFIG: "true", "app.kubernetes.io/managed-by": names::MANAGER},
                    "annotations": {names::CONFIG_KEY: names::config_key(key)},
                },
                "data": {names::CONFIG_VALUE: document},
            });
            return match api.create(Kind::ConfigMaps, &name, object).await {
                Ok(object) => Ok(revision(&object)),
                Err(error) if error.kind() == ErrorKind::Conflict => Err(changed()),
                Err(error) => Err(error),
            };
        };
        // Fields that others wrote are kept.
        let Some(mut object) = api.get(Kind::ConfigMaps, &name).await? else { return Err(changed()) };
        if revision(&object) != *expected {
            return Err(changed());
        }
        if object.get("immutable") == Some(&Value::Bool(true)) {
            let message = format!("the ConfigMap {name} is immutable; delete it to store another");
            return Err(Error::new(ErrorKind::Unsupported, message).with_code("IMMUTABLE"));
        }
        let Some(fields) = object.as_object_mut() else { return Err(changed()) };
        let data = fields.entry("data").or_insert(Value::Null);
        if !data.is_object() {
            *data = json!({});
        }
        data[names::CONFIG_VALUE] = document.into();
        if let Some(binary) = object.get_mut("binaryData").and_then(Value::as_object_mut) {
            // A key may be in only one of the two.
            binary.remove(names::CONFIG_VALUE);
        }
        match api.replace(Kind::ConfigMaps, &name, object).await {
            Ok(Some(object)) => Ok(revision(&object)),
            Ok(None) => Err(changed()),
            Err(error) if error.kind() == ErrorKind::Conflict => Err(changed()),
            Err(error) => Err(error),
        }
    }

    /// Watches a document: the current one, then each change. A change of the object that does not
    /// change the document is not published, so the last published revision can be older than the
    /// newest.
    fn watch(&self, key: &ConfigKey) -> ConfigStream<'_> {
        let (cluster, name) = (Arc::clone(&self.cluster), names::config(key));
        self.configs.listen(key.clone(), |publisher| async move {
            if cluster.client.is_open() {
                let settings = &cluster.settings;
                let periods = Periods { watch: settings.watch, relist: settings.relist };
                let scope = Scope::named(Kind::ConfigMaps, &name);
                follow(cluster.api(), scope, periods, DocumentStore::new(publisher)).await;
            }
        })
    }
}

fn changed() -> Error {
    Error::new(ErrorKind::Conflict, "the configuration has changed in the meantime; load it again")
}

fn revision(object: &Value) -> Revision {
    let (uid, version) = identity(object);
    Revision::new(format!("{uid}/{version}"))
}

fn stored(object: &Value) -> Result<StoredConfig, Error> {
    let text = object.get("data").and_then(|data| data.get(names::CONFIG_VALUE)).and_then(Value::as_str);
    if let Some(text) = text {
        return Ok(StoredConfig::new(text, revision(object)));
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let binary = object.get("binaryData").and_then(|data| data.get(names::CONFIG_VALUE)).is_some();
    let why = if binary { "is binary, not text" } else { "is not there" };
    let message =
        format!("ConfigMap {name}: its key {} {why}; store a configuration as text", names::CONFIG_VALUE);
    Err(Error::new(ErrorKind::Validation, message))
}

/// Stores one document, and publishes its changes.
struct DocumentStore {
    publisher: Publisher<Option<StoredConfig>>,
    now: Option<Result<StoredConfig, Error>>,
    listed: bool,
    /// Whether `document` is the last published one.
    published: bool,
    document: Option<String>,
    error: Option<Error>,
    down: bool,
}

impl DocumentStore {
    fn new(publisher: Publisher<Option<StoredConfig>>) -> Self {
        Self {
            publisher,
            now: None,
            listed: false,
            published: false,
            document: None,
            error: None,
            down: false,
        }
    }
}

impl ReflectorStore for DocumentStore {
    type Item = Result<StoredConfig, Error>;

    fn read(&self, object: Value) -> Self::Item {
        stored(&object)
    }

    fn listed(&mut self, items: Vec<Self::Item>, _version: &str) {
        self.listed = true;
        self.now = items.into_iter().next();
    }

    fn changed(&mut self, item: Self::Item) {
        self.now = Some(item);
    }

    fn deleted(&mut self, _item: Self::Item) {
        self.now = None;
    }

    fn failed(&mut self, error: Error) {
        (self.error, self.down) = (Some(error), true);
    }

    fn recovered(&mut self) {
        (self.error, self.down, self.published) = (None, false, false);
    }

    fn publish(&mut self, _now: Time) {
        if let Some(error) = self.error.take() {
            return self.publisher.error(error);
        }
        if self.down || !self.listed {
            return;
        }
        match &self.now {
            Some(Err(error)) => {
                self.published = false;
                self.publisher.error(error.clone());
            }
            now => {
                let stored = now.as_ref().and_then(|stored| stored.as_ref().ok());
                let document = stored.map(|stored| stored.document().to_owned());
                if !self.published || self.document != document {
                    (self.published, self.document) = (true, document);
                    self.publisher.publish(stored.cloned());
                }
            }
        }
    }

    fn due(&self) -> Option<Time> {
        None
    }
}
