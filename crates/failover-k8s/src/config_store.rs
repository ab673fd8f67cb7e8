//! The configuration store: each document is a `ConfigMap`.

use std::collections::HashMap;
use std::sync::Arc;

use failover_core::provider::{ConfigKey, ConfigSet, ConfigStore, ConfigStream, Revision, StoredConfig};
use failover_core::{Error, ErrorKind, Time, async_trait};
use failover_provider_kit::{MAX_DOCUMENT_BYTES, Publisher};
use serde_json::{Map, Value, json};

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
        let name = names::config(key);
        match self.cluster.api().get(Kind::ConfigMaps, &name).await? {
            Some(object) if identity(&object).0.is_empty() => {
                Err(Error::bad_answer(format!("get configmaps {name}"), "it is no object"))
            }
            Some(object) => Ok(Some(stored(&object))),
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
        // A human may have written it; watches find it by its label.
        set(fields, "labels", names::CONFIG, "true".to_owned());
        set(fields, "annotations", names::CONFIG_KEY, names::config_key(key));
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

    /// Watches every `ConfigMap` with the label of a document. A change of the object that does not
    /// change the document is not published, so the last published revision can be older than the
    /// newest.
    fn watch(&self) -> ConfigStream<'_> {
        let cluster = Arc::clone(&self.cluster);
        self.configs.listen((), |publisher| async move {
            if cluster.client.is_open() {
                let settings = &cluster.settings;
                let periods = Periods { watch: settings.watch, relist: settings.relist };
                let scope = Scope::labelled(Kind::ConfigMaps, format!("{}=true", names::CONFIG));
                follow(cluster.api(), scope, periods, DocumentStore::new(publisher)).await;
            }
        })
    }
}

fn changed() -> Error {
    Error::new(ErrorKind::Conflict, "the configuration has changed in the meantime; load it again")
}

/// Sets a label or an annotation of an object.
fn set(object: &mut Map<String, Value>, field: &str, name: &str, value: String) {
    let mut fields = object;
    for field in ["metadata", field] {
        let inner = fields.entry(field).or_insert(Value::Null);
        if !inner.is_object() {
            *inner = json!({});
        }
        let Some(inner) = inner.as_object_mut() else { return };
        fields = inner;
    }
    fields.insert(name.to_owned(), value.into());
}

fn revision(object: &Value) -> Revision {
    let (uid, version) = identity(object);
    Revision::new(format!("{uid}/{version}"))
}

fn stored(object: &Value) -> StoredConfig {
    let text = object.get("data").and_then(|data| data.get(names::CONFIG_VALUE)).and_then(Value::as_str);
    if let Some(text) = text {
        return StoredConfig::new(text, revision(object));
    }
    let name = object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default();
    let binary = object.get("binaryData").and_then(|data| data.get(names::CONFIG_VALUE)).is_some();
    let why = if binary { "is binary, not text" } else { "is not there" };
    let problem =
        format!("ConfigMap {name}: its key {} {why}; store a configuration as text", names::CONFIG_VALUE);
    StoredConfig::unreadable(problem, revision(object))
}

/// Returns the key of the document in an object; `None` if it is none of this crate's.
fn key_of(object: &Value) -> Option<ConfigKey> {
    let name = object.pointer("/metadata/name")?.as_str()?;
    let annotations = object.pointer("/metadata/annotations")?;
    let key = names::read_config_key(annotations.get(names::CONFIG_KEY)?.as_str()?)?;
    // Writers find the object by its name.
    (names::config(&key) == name).then_some(key)
}

/// Stores the documents of a namespace, and publishes their changes.
struct DocumentStore {
    publisher: Publisher<ConfigSet>,
    now: HashMap<ConfigKey, StoredConfig>,
    listed: bool,
    published: Option<HashMap<ConfigKey, StoredConfig>>,
    error: Option<Error>,
    down: bool,
}

impl DocumentStore {
    fn new(publisher: Publisher<ConfigSet>) -> Self {
        let now = HashMap::new();
        Self { publisher, now, listed: false, published: None, error: None, down: false }
    }
}

impl ReflectorStore for DocumentStore {
    type Item = Option<(ConfigKey, StoredConfig)>;

    fn read(&self, object: Value) -> Self::Item {
        Some((key_of(&object)?, stored(&object)))
    }

    fn listed(&mut self, items: Vec<Self::Item>, _version: &str) {
        self.listed = true;
        self.now = items.into_iter().flatten().collect();
    }

    fn changed(&mut self, item: Self::Item) {
        self.now.extend(item);
    }

    fn deleted(&mut self, item: Self::Item) {
        if let Some((key, _)) = item {
            self.now.remove(&key);
        }
    }

    fn failed(&mut self, error: Error) {
        (self.error, self.down) = (Some(error), true);
    }

    fn recovered(&mut self) {
        (self.error, self.down, self.published) = (None, false, None);
    }

    fn publish(&mut self, _now: Time) {
        if let Some(error) = self.error.take() {
            return self.publisher.error(error);
        }
        if self.down || !self.listed {
            return;
        }
        let is_same = |published: &HashMap<ConfigKey, StoredConfig>| {
            let same = |(key, now): (&ConfigKey, &StoredConfig)| {
                // Another revision alone is a change of something else in the object.
                published.get(key).is_some_and(|before| {
                    before.document() == now.document() && before.text().is_ok() == now.text().is_ok()
                })
            };
            published.len() == self.now.len() && self.now.iter().all(same)
        };
        if !self.published.as_ref().is_some_and(is_same) {
            self.publisher.publish(ConfigSet::new(self.now.clone()));
            self.published = Some(self.now.clone());
        }
    }

    fn due(&self) -> Option<Time> {
        None
    }
}
