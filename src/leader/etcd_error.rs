//! Why etcd gave no answer.

use std::sync::Arc;

use http::StatusCode;
use tower::BoxError;

/// Why etcd gave no answer.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
/// use http_body_util::Full;
/// use seawall::leader::{Ask, EtcdError, EtcdStore};
/// use std::convert::Infallible;
/// use tower::{ServiceExt, service_fn};
///
/// let web_server = service_fn(|_: http::Request<_>| async {
///     let answer = http::Response::builder().status(404).body(Full::<bytes::Bytes>::from("no such page"));
///     Ok::<_, Infallible>(answer.unwrap())
/// });
/// let store = EtcdStore::new("http://10.0.0.7:80", web_server)?;
/// let error: EtcdError = store.oneshot(Ask::Look { lease: "report".into() }).await.unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "etcd at http://10.0.0.7:80 answered 404 Not Found to /v3/kv/range with \"no such page\": \
///      is this etcd's client port?",
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EtcdError {
    /// The client failed.
    #[error("etcd at {endpoint} could not be asked")]
    Unreachable {
        /// Where it was looked for.
        endpoint: Arc<str>,
        /// Why.
        source: BoxError,
    },
    /// It answered with an error.
    #[error("etcd at {endpoint} answered {status} to {path} with {text:?}{remedy}")]
    Status {
        /// Where it was asked.
        endpoint: Arc<str>,
        /// What it was asked.
        path: &'static str,
        /// The status of the answer.
        status: StatusCode,
        /// What it said, at most 200 characters.
        text: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// Somebody wrote the key of the lease by hand, so that it never ends.
    #[error(
        "the key `{key}` in etcd at {endpoint} has no lease and never ends: delete it, or name the lease otherwise"
    )]
    Blocked {
        /// Where it was asked.
        endpoint: Arc<str>,
        /// The key.
        key: String,
    },
    /// It answered something that etcd does not say.
    #[error("what answers at {endpoint} is no etcd: it said {text:?} to {path}")]
    Unexpected {
        /// Where it was asked.
        endpoint: Arc<str>,
        /// What it was asked.
        path: &'static str,
        /// What it said, at most 200 characters.
        text: String,
    },
}
