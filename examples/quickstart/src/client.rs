//! The caller's side: a real HTTP client, and what its replies say about the endpoint that gave them.

use failover::{Call, CallError, Classify, Completed, Outcome};

/// An HTTP client that calls a service by way of `execute`.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
}

/// A reply, read to its end: a server that stalls in the middle of one has failed.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

pub(crate) type Answer = Result<Completed<Reply>, CallError<reqwest::Error>>;

impl Client {
    pub(crate) fn new() -> reqwest::Result<Self> {
        // What is asked for is on this machine, whatever proxy the environment names.
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http })
    }

    /// One call: as many attempts as it takes, each on another endpoint while there is one.
    pub(crate) async fn get(&self, call: Call<'_, HttpRules>, path: &str) -> Answer {
        call.execute(async |attempt| {
            let response = self.http.get(attempt.url(path)).send().await?;
            let status = response.status().as_u16();
            Ok(Reply { status, body: response.text().await? })
        })
        .await
    }
}

/// What a reply means: 5xx is the server's fault, other 4xx the caller's own; a connection that was refused carried
/// no request.
#[derive(Clone)]
pub(crate) struct HttpRules;

impl Classify<Reply, reqwest::Error> for HttpRules {
    fn classify(&self, reply: Result<&Reply, &reqwest::Error>) -> Outcome {
        match reply {
            Ok(reply) => Outcome::from_http_status(reply.status, None),
            Err(error) if error.is_connect() => Outcome::NotSent,
            Err(_) => Outcome::Failure,
        }
    }
}
