//! `docs/metrics.md` against what a real Prometheus recorder shows: every name, type, label and value
//! of the table, and the numbers of scripted runs.

mod expiry;
mod late;
mod numbers;
mod once;
mod table;

use std::future::pending;
use std::time::Duration;

use seawall::{Error, Outcome};
use tokio::time::sleep;

const MS: Duration = Duration::from_millis(1);

/// What a call shall come to.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Script {
    Success,
    Failure,
    Pushback,
    Ignored,
    Unsent,
    After(Duration),
    Never,
}

type Fails = Error<Failed>;

#[derive(Debug, thiserror::Error)]
#[error("as the script says: {0:?}")]
struct Failed(Script);

async fn act(script: Script) -> Result<(), Fails> {
    match script {
        Script::Success => Ok(()),
        Script::After(time) => {
            sleep(time).await;
            Ok(())
        }
        Script::Never => pending().await,
        _ => Err(Error::Inner(Failed(script))),
    }
}

fn classify(error: &Fails) -> Outcome {
    match error {
        Error::Inner(Failed(Script::Pushback)) => Outcome::PUSHBACK,
        Error::Inner(Failed(Script::Ignored)) => Outcome::IGNORE,
        Error::Inner(Failed(Script::Unsent)) => Outcome::TRANSIENT.unsent(),
        _ => Outcome::TRANSIENT,
    }
}

/// Polls a call until it waits, then drops it.
async fn abandon<T>(call: impl Future<Output = T>) {
    tokio::select! {
        biased;
        _ = call => panic!("it was not to be answered"),
        () = async {} => {}
    }
}
