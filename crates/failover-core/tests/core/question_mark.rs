//! `?` in and around the closure of a call.

use std::error::Error as StdError;
use std::io;

use failover_core::{CallError, Error, ServiceHandle};

type Boxed = Box<dyn StdError + Send + Sync>;

fn users() -> ServiceHandle {
    ServiceHandle::fixed("users", ["10.0.0.1:80", "10.0.0.2:80"]).expect("valid")
}

fn refused() -> Result<u16, io::Error> {
    Err(io::Error::new(io::ErrorKind::ConnectionRefused, "connection refused"))
}

fn text() -> Result<u16, String> {
    Err("connection refused".to_owned())
}

/// The texts of an error and of its sources.
fn chain(error: &(dyn StdError + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect()
}

/// Declares a function that makes a failing call: `?` converts `$cause` into `$own` in the closure,
/// and the error of the call into `$outer` around it.
macro_rules! call {
    ($name:ident, $cause:expr, $own:ty, $outer:ty) => {
        async fn $name() -> Result<u16, $outer> {
            let done = users()
                .execute(async |endpoint| {
                    let status: u16 = $cause?;
                    Ok::<_, $own>(status + endpoint.port())
                })
                .await?;
            Ok(done.value)
        }
    };
}

fn context() -> anyhow::Result<u16> {
    use anyhow::Context;
    refused().context("cannot connect")
}

call!(concrete_in_anyhow, refused(), io::Error, anyhow::Error);
call!(concrete_in_boxed, refused(), io::Error, Boxed);
call!(concrete_in_box, refused(), io::Error, Box<dyn StdError>);
call!(concrete_in_ours, refused(), io::Error, Error);
call!(anyhow_in_anyhow, context(), anyhow::Error, anyhow::Error);
call!(anyhow_in_boxed, context(), anyhow::Error, Boxed);
call!(anyhow_in_ours, context(), anyhow::Error, Error);
call!(boxed_in_anyhow, refused(), Boxed, anyhow::Error);
call!(boxed_in_boxed, refused(), Boxed, Boxed);
call!(boxed_in_ours, refused(), Boxed, Error);
call!(text_in_anyhow, text(), String, anyhow::Error);
call!(text_in_boxed, text(), String, Boxed);
call!(text_in_ours, text(), String, Error);

fn checks(case: &str, error: &(dyn StdError + 'static), causes: &[&str]) {
    let chain = chain(error);
    assert!(chain[0].starts_with("users: 3 attempts failed ("), "{case}: {chain:?}");
    assert!(chain[0].ends_with("max_retries is 2"), "{case}: {chain:?}");
    assert_eq!(&chain[1..], causes, "{case}");
}

#[tokio::test]
async fn a_question_mark_converts_in_and_around_the_closure() {
    let one = ["connection refused"];
    checks("concrete", concrete_in_anyhow().await.unwrap_err().as_ref(), &one);
    checks("concrete", &*concrete_in_boxed().await.unwrap_err(), &one);
    checks("concrete", &*concrete_in_box().await.unwrap_err(), &one);
    checks("concrete", &concrete_in_ours().await.unwrap_err(), &one);
    // The trait cannot know that the error is one with sources: all of them are in one text. The
    // library's own error has the chain.
    let (all, each) = (["cannot connect: connection refused"], ["cannot connect", "connection refused"]);
    checks("anyhow", anyhow_in_anyhow().await.unwrap_err().as_ref(), &all);
    checks("anyhow", &*anyhow_in_boxed().await.unwrap_err(), &all);
    checks("anyhow", &anyhow_in_ours().await.unwrap_err(), &each);
    checks("boxed", boxed_in_anyhow().await.unwrap_err().as_ref(), &one);
    checks("boxed", &*boxed_in_boxed().await.unwrap_err(), &one);
    checks("boxed", &boxed_in_ours().await.unwrap_err(), &one);
    checks("text", text_in_anyhow().await.unwrap_err().as_ref(), &one);
    checks("text", &*text_in_boxed().await.unwrap_err(), &one);
    checks("text", &text_in_ours().await.unwrap_err(), &one);
}

#[derive(Debug)]
struct Outer(io::Error);

impl std::fmt::Display for Outer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("cannot send")
    }
}

impl StdError for Outer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

#[tokio::test]
async fn the_sources_of_a_concrete_error_are_reached_by_the_last_error_and_by_our_own() {
    let call = async || users().execute(async |_| refused().map_err(Outer)).await.unwrap_err();
    let error = call().await;
    assert_eq!(chain(error.last_error().expect("kept")), ["cannot send", "connection refused"]);
    checks("concrete", &Error::from(error), &["cannot send", "connection refused"]);
    checks("concrete", &call().await, &["cannot send"]);
}

#[tokio::test]
async fn what_main_prints_is_one_short_line() {
    let error = anyhow_call().await.unwrap_err();
    let shown = format!("{error:?}");
    assert_eq!(shown, error.to_string());
    assert!(shown.len() < 400 && !shown.contains('\n'), "{shown}");
}

async fn anyhow_call() -> Result<u16, CallError<anyhow::Error>> {
    let done = users().execute(async |_| context()).await.map_err(CallError::without_reply)?;
    Ok(done.value)
}

#[tokio::test]
async fn a_reply_that_borrows_or_stays_on_its_thread_is_left_out() {
    async fn borrowed(text: &str) -> Result<usize, Boxed> {
        let reply = async |_| Err::<&str, _>(format!("{text} is closed"));
        Ok(users().execute(reply).await.map_err(CallError::without_reply)?.value.len())
    }
    async fn local() -> Result<usize, Boxed> {
        let reply = async |_| Err::<std::rc::Rc<str>, _>("closed");
        Ok(users().execute(reply).await.map_err(CallError::without_reply)?.value.len())
    }
    checks("borrowed", &*borrowed("door").await.unwrap_err(), &["door is closed"]);
    checks("local", &*local().await.unwrap_err(), &["closed"]);
}
