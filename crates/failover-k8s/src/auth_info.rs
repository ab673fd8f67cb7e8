//! Validates the credentials of a kubeconfig where they are read: kube would panic at a token that
//! does not fit into a header.

use failover_core::{Error, ErrorKind};
use failover_provider_kit::Secret;
use http::HeaderValue;
use kube::config::AuthInfo;
use serde_json::Value;

/// Entries of an `auth-provider` that are tokens.
const PROVIDER_TOKENS: [&str; 2] = ["id-token", "access-token"];

/// Checks all credentials, and removes white space around tokens. `what` names their source.
///
/// # Errors
///
/// Returns `Validation` for a value that does not fit into a header. The value is not shown.
pub(crate) fn check(auth: &mut AuthInfo, what: &str) -> Result<(), Error> {
    // kube gives its secrets away only so.
    let fields = serde_json::to_value(&*auth).unwrap_or_default();
    let text = |key: &str| fields.get(key).and_then(Value::as_str);
    if let Some(token) = text("token") {
        auth.token = parsed(token, what, "token")?.map(Into::into);
    }
    if let Some(provider) = &mut auth.auth_provider {
        for key in PROVIDER_TOKENS {
            if let Some(token) = provider.config.get_mut(key) {
                *token = parsed(token, what, key)?.unwrap_or_default();
            }
        }
    }
    for key in ["username", "password"] {
        let is_wrong =
            |text: &str| text.chars().any(char::is_control) || key == "username" && text.contains(':');
        if text(key).is_some_and(is_wrong) {
            let message =
                format!("{what}: its {key} has characters that a header cannot hold; the value is not shown");
            return Err(Error::new(ErrorKind::Validation, message));
        }
    }
    let groups = auth.impersonate_groups.iter().flatten().map(|group| ("as-groups", group));
    let extra = auth.impersonate_user_extra.iter().flatten();
    let extra =
        extra.flat_map(|(key, values)| std::iter::once(key).chain(values)).map(|one| ("as-user-extra", one));
    let names = [("as", &auth.impersonate), ("as-uid", &auth.impersonate_uid)];
    let names = names.into_iter().filter_map(|(key, name)| Some((key, name.as_ref()?)));
    for (key, value) in names.chain(groups).chain(extra) {
        if HeaderValue::from_str(value).is_err() {
            let message = format!("{what}: its {key} has characters that a header cannot hold");
            return Err(Error::new(ErrorKind::Validation, message));
        }
    }
    Ok(())
}

fn parsed(token: &str, what: &str, key: &str) -> Result<Option<String>, Error> {
    let token = Secret::parse(token, &format!("{what}: its {key}"))?;
    Ok(token.map(|token| token.expose().to_owned()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn auth(fields: Value) -> AuthInfo {
        serde_json::from_value(fields).expect("the fields of a user")
    }

    #[test]
    fn what_does_not_fit_into_a_header_is_refused_and_not_shown() {
        for fields in [
            json!({"token": "canary\nX-Evil: 1"}),
            json!({"token": "canary\r\ncanary"}),
            json!({"token": "canary two"}),
            json!({"token": "canary\u{0}"}),
            json!({"token": "canar\u{fc}"}),
            json!({"username": "a\ncanary", "password": "b"}),
            json!({"username": "a:canary", "password": "b"}),
            json!({"username": "a", "password": "b\ncanary"}),
            json!({"as": "canary\nb"}),
            json!({"as-uid": "canary\nb"}),
            json!({"as": "a", "as-groups": ["b", "canary\nb"]}),
            json!({"as": "a", "as-user-extra": {"k": ["canary\nb"]}}),
            json!({"as": "a", "as-user-extra": {"k\ncanary": ["b"]}}),
            json!({"auth-provider": {"name": "oidc", "config": {"id-token": "canary\nb"}}}),
            json!({"auth-provider": {"name": "gcp", "config": {"access-token": "canary\nb"}}}),
        ] {
            let error = check(&mut auth(fields.clone()), "kubeconfig /x, context dev").expect_err("invalid");
            assert_eq!(error.kind(), ErrorKind::Validation, "{fields}");
            assert!(!format!("{error:?}").contains("canar"), "{error:?}");
            assert!(error.to_string().contains("kubeconfig /x, context dev: its "), "{error}");
        }
    }

    #[test]
    fn white_space_around_a_token_is_removed_as_in_a_token_file() {
        let token = |fields: Value| {
            let mut auth = auth(fields);
            check(&mut auth, "kubeconfig").expect("valid");
            serde_json::to_value(&auth)
                .expect("fields")
                .get("token")
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        assert_eq!(token(json!({"token": " abc\r\n"})).as_deref(), Some("abc"));
        assert_eq!(token(json!({"token": "\n"})), None, "an empty token is none");
        assert_eq!(token(json!({"as": "jane@example.com", "as-groups": ["a b"]})), None);
    }
}
