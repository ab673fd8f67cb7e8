//! The requests without consulrs.

use http::Method;
use serde::Serialize;

use super::{Ask, Requests, Scope, pair};

pub(crate) struct Own;

impl Requests for Own {
    fn list_services(scope: Scope<'_>) -> Result<Ask, String> {
        Ok(Ask::new(Method::GET, "catalog/services").query(scope.pairs()))
    }

    fn read_key(scope: Scope<'_>, key: &str) -> Result<Ask, String> {
        Ok(Ask::new(Method::GET, format!("kv/{key}")).query(scope.pairs()))
    }

    fn swap_key(scope: Scope<'_>, key: &str, value: &[u8], index: u64) -> Result<Ask, String> {
        let ask = Ask::new(Method::PUT, format!("kv/{key}")).query([("cas", index.to_string().as_str())]);
        Ok(ask.query(scope.pairs()).body(value))
    }

    fn deregister(namespace: Option<&str>, id: &str) -> Result<Ask, String> {
        Ok(Ask::new(Method::PUT, format!("agent/service/deregister/{id}")).query(pair(namespace)))
    }

    fn update_check(namespace: Option<&str>, check: &str, status: &str, output: &str) -> Result<Ask, String> {
        #[derive(Serialize)]
        #[serde(rename_all = "PascalCase")]
        struct Update<'a> {
            output: &'a str,
            status: &'a str,
        }

        let body = serde_json::to_vec(&Update { output, status }).map_err(|error| error.to_string())?;
        let ask = Ask::new(Method::PUT, format!("agent/check/update/{check}"));
        Ok(ask.query(pair(namespace)).body(body))
    }
}
