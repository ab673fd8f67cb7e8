//! The caller: a real HTTP client, and the classification of its replies.

use failover::{Call, CallError, Classified, Classify, Completed, Outcome};

/// An HTTP client that calls a service through `execute`.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
}

/// A complete reply: a server that stalls within a reply has failed.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) body: String,
}

pub(crate) type Answer = Result<Completed<Reply>, CallError<reqwest::Error, Reply>>;

impl Client {
    pub(crate) fn new() -> reqwest::Result<Self> {
        // The servers are on this machine, so proxies of the environment are ignored.
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { http })
    }

    /// Makes one call, with as many attempts as needed, each on another endpoint while there is
    /// one.
    pub(crate) async fn get(&self, call: Call<'_, HttpRules>, path: &str) -> Answer {
        call.execute(async |attempt| {
            let response = self.http.get(attempt.url(path)).send().await?;
            let status = response.status().as_u16();
            Ok(Reply { status, body: response.text().await? })
        })
        .await
    }
}

/// Classifies replies: 5xx counts against the server, other 4xx do not; a refused connection
/// carried no request.
#[derive(Clone)]
pub(crate) struct HttpRules;

impl Classify<Reply, reqwest::Error> for HttpRules {
    fn classify(&self, reply: Result<&Reply, &reqwest::Error>) -> Classified {
        match reply {
            Ok(reply) => Classified::from_http_status(reply.status, None),
            Err(error) if error.is_connect() => Classified::from_error(Outcome::NotSent, error),
            Err(error) => Classified::from_error(Outcome::Failure, error),
        }
    }
}
