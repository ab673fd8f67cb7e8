//! Configuration stored on a real API server.

use std::time::Duration;

use failover_core::ErrorKind;
use failover_core::provider::{ConfigKey, ConfigStore};
use futures_util::StreamExt;
use serde_json::{Value, json};

use crate::harness::{calm, service};

fn name_of(objects: &[Value]) -> String {
    objects[0]["metadata"]["name"].as_str().expect("a name").to_owned()
}

/// F27: two writers, and an object that was deleted and recreated in between.
#[tokio::test]
async fn a_revision_is_of_one_object_and_not_of_its_name() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    let key = ConfigKey::Service(service("users"));
    let first = provider.store(&key, "{\"v\":1}", None).await.expect("stores");
    let second = provider.store(&key, "{\"v\":2}", Some(&first)).await.expect("stores");
    let late = provider.store(&key, "{\"v\":3}", Some(&first)).await.expect_err("another writer was first");
    assert_eq!(late.kind(), ErrorKind::Conflict);
    let maps = space.objects("configmaps").await;
    space.admin("DELETE", "configmaps", &name_of(&maps), "").await;
    let gone = provider.store(&key, "{\"v\":4}", Some(&second)).await.expect_err("it is gone");
    assert_eq!(gone.kind(), ErrorKind::Conflict);
    let again = provider.store(&key, "{\"v\":5}", None).await.expect("stores");
    assert_ne!(again, second);
    let stale = provider.store(&key, "{\"v\":6}", Some(&second)).await.expect_err("it is another object");
    assert_eq!(stale.kind(), ErrorKind::Conflict);
    assert_eq!(provider.load(&key).await.expect("loads").expect("there").document(), "{\"v\":5}");
    assert!(provider.load(&ConfigKey::Default).await.expect("loads").is_none(), "each key is apart");
}

/// F28: what users do to a `ConfigMap`.
#[tokio::test]
async fn a_config_map_that_is_deleted_binary_immutable_or_too_large_is_reported_as_such() {
    let Some(space) = calm().await else { return };
    let provider = space.provider().await;
    let key = ConfigKey::Default;
    let mut watch = ConfigStore::watch(&provider);
    let next = async |watch: &mut failover_core::provider::ConfigStream<'_>| {
        let next = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        let set = next.expect("in time").expect("it goes on").expect("an answer");
        set.get(&ConfigKey::Default).cloned()
    };
    assert!(next(&mut watch).await.is_none());
    provider.store(&key, "{\"v\":1}", None).await.expect("stores");
    assert_eq!(next(&mut watch).await.expect("there").document(), "{\"v\":1}");
    let maps = space.objects("configmaps").await;
    let name = name_of(&maps);

    // An added label changes the object, but not the document.
    let mut labelled = maps[0].clone();
    labelled["metadata"]["labels"]["team"] = json!("blue");
    space.admin("PUT", "configmaps", &name, &labelled.to_string()).await;
    let stored = provider.load(&key).await.expect("loads").expect("there");
    provider.store(&key, "{\"v\":2}", Some(stored.revision())).await.expect("stores");
    assert_eq!(next(&mut watch).await.expect("there").document(), "{\"v\":2}");
    assert_eq!(space.objects("configmaps").await[0]["metadata"]["labels"]["team"], "blue");

    space.admin("DELETE", "configmaps", &name, "").await;
    assert!(next(&mut watch).await.is_none(), "it is gone");

    let binary = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": maps[0]["metadata"], "binaryData": {"value": "AAE="}});
    let mut binary = binary;
    binary["metadata"]
        .as_object_mut()
        .expect("an object")
        .retain(|key, _| matches!(key.as_str(), "name" | "labels" | "annotations"));
    space.admin("POST", "configmaps", "", &binary.to_string()).await;
    let stored = next(&mut watch).await.expect("it is there");
    let error = stored.text().expect_err("it is no text");
    assert!(error.kind() == ErrorKind::Validation && error.to_string().contains("binary"), "{error}");
    let loaded = provider.load(&key).await.expect("loads").expect("there");
    assert!(loaded.text().is_err());
    // It is replaced, in the object that a human wrote.
    provider.store(&key, "{\"v\":3}", Some(loaded.revision())).await.expect("replaces it");
    assert_eq!(next(&mut watch).await.expect("there").document(), "{\"v\":3}");
    space.admin("DELETE", "configmaps", &name, "").await;
    assert!(next(&mut watch).await.is_none(), "it is gone");

    // One without its label and its annotation gets them when it is replaced.
    let bare = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    space.admin("POST", "configmaps", "", &bare.to_string()).await;
    let loaded = provider.load(&key).await.expect("loads").expect("there");
    assert!(loaded.text().expect_err("empty").to_string().contains("is not there"));
    provider.store(&key, "{\"v\":4}", Some(loaded.revision())).await.expect("replaces it");
    assert_eq!(next(&mut watch).await.expect("there").document(), "{\"v\":4}");
    space.admin("DELETE", "configmaps", &name, "").await;

    let fixed = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": "{}"}, "immutable": true});
    space.admin("POST", "configmaps", "", &fixed.to_string()).await;
    let stored = provider.load(&key).await.expect("loads").expect("there");
    let error =
        provider.store(&key, "{\"v\":9}", Some(stored.revision())).await.expect_err("it cannot be changed");
    assert_eq!((error.kind(), error.code()), (ErrorKind::Unsupported, "IMMUTABLE"));
    space.admin("DELETE", "configmaps", &name, "").await;

    let large = "x".repeat(512 * 1024 + 1);
    let error = provider.store(&key, &large, None).await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::Validation);
    assert!(space.objects("configmaps").await.is_empty(), "nothing was sent");
    provider.store(&key, &large[1..], None).await.expect("the most that fits");
}
