//! Why PostgreSQL gave no answer.

use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use tokio_postgres::error::SqlState;
use tower::BoxError;

/// Why PostgreSQL gave no answer: a sentence with the address, what was answered, and what to do.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use seawall::leader::Ask;
/// use seawall_postgres::{Clients, LeaseStore, PostgresError};
/// use tokio_postgres::NoTls;
/// use tower::ServiceExt;
///
/// let clients = Clients::connect("host=127.0.0.1 port=1 user=app dbname=jobs".parse()?, NoTls);
/// let store = LeaseStore::new(&clients);
/// let error: PostgresError = store.oneshot(Ask::Look { lease: "report".into() }).await.unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "PostgreSQL at 127.0.0.1:1/jobs could not be reached: does it run, and listen there?"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// There is no connection to it, or none any more.
    #[error("PostgreSQL at {address} could not be reached: does it run, and listen there?")]
    Unreachable {
        /// Where it was looked for.
        address: Arc<str>,
        /// Why.
        source: BoxError,
    },
    /// The pool, or the settings of the connection, gave no client.
    #[error("there is no client for PostgreSQL at {address}")]
    NoClient {
        /// For which server.
        address: Arc<str>,
        /// Why.
        source: BoxError,
    },
    /// It answered with an error.
    #[error("PostgreSQL at {address} answered {text:?} ({code}){remedy}")]
    Answered {
        /// Where it was asked.
        address: Arc<str>,
        /// Its [code](https://www.postgresql.org/docs/current/errcodes-appendix.html).
        code: String,
        /// What it said.
        text: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A pool gave a client within a transaction, in which there is no position after the commit.
    #[error(
        "the client for PostgreSQL at {address} is within a transaction: ask for the position after the commit"
    )]
    InTransaction {
        /// Which server.
        address: Arc<str>,
    },
    /// It answered something that PostgreSQL does not say, or hung up instead of an answer.
    #[error("what answers at {address} does not speak as PostgreSQL does: is it the right port?")]
    Unexpected {
        /// Where it was asked.
        address: Arc<str>,
        /// What is wrong with it.
        source: BoxError,
    },
}

impl PostgresError {
    /// What a question was answered.
    pub(crate) fn of(address: &Arc<str>, error: tokio_postgres::Error) -> Self {
        let address = Arc::clone(address);
        if let Some(told) = error.as_db_error() {
            let (code, text) = (told.code().code().to_owned(), told.message().to_owned());
            let remedy = remedy(told.code(), &text);
            return Self::Answered { address, code, text, remedy };
        }
        if is_lost(&error) {
            return Self::Unreachable { address, source: error.into() };
        }
        Self::Unexpected { address, source: error.into() }
    }

    /// Why there is no connection.
    pub(crate) fn unreachable(address: &Arc<str>, error: BoxError) -> Self {
        let error = match error.downcast::<tokio_postgres::Error>() {
            Ok(error) => *error,
            Err(source) => return Self::NoClient { address: Arc::clone(address), source },
        };
        if error.as_db_error().is_some() {
            return Self::of(address, error);
        }
        let address = Arc::clone(address);
        match kind(&error) {
            Some(
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::Other,
            ) => Self::Unexpected { address, source: error.into() },
            Some(_) => Self::Unreachable { address, source: error.into() },
            None if error.is_closed() || error.source().is_none() => {
                Self::Unexpected { address, source: error.into() }
            }
            None => Self::NoClient { address, source: error.into() },
        }
    }
}

/// Whether the connection is gone, and another one may be better.
pub(crate) fn is_lost(error: &tokio_postgres::Error) -> bool {
    let ends = [&SqlState::ADMIN_SHUTDOWN, &SqlState::CRASH_SHUTDOWN, &SqlState::DATABASE_DROPPED];
    match error.code() {
        Some(code) => ends.contains(&code),
        None => error.is_closed() || kind(error).is_some(),
    }
}

fn kind(error: &tokio_postgres::Error) -> Option<io::ErrorKind> {
    let source = error.source()?.downcast_ref::<io::Error>()?;
    Some(source.kind())
}

/// What to do about an error of the server; nothing where only somebody who knows the server can tell.
fn remedy(code: &SqlState, text: &str) -> &'static str {
    const SCHEMA: &str =
        ": let somebody who may create the table, by the SQL of `seawall_postgres::LEASES`";
    const NO_TIMELINE: &str =
        ": this server has no functions of the write-ahead log: see `LeaseStore::without_timeline`";
    const MONITOR: &str = ": grant this user the role pg_monitor";
    const REMEDIES: &[(&[SqlState], &str)] = &[
        (&[SqlState::INVALID_SCHEMA_NAME], ": create the schema"),
        (
            &[SqlState::UNDEFINED_TABLE],
            ": create the table with `create_table`, or by the SQL of `seawall_postgres::LEASES`",
        ),
        (
            &[
                SqlState::UNDEFINED_COLUMN,
                SqlState::UNDEFINED_FUNCTION,
                SqlState::DATATYPE_MISMATCH,
                SqlState::WRONG_OBJECT_TYPE,
                SqlState::INVALID_COLUMN_REFERENCE,
                SqlState::NOT_NULL_VIOLATION,
            ],
            ": the table is not as `seawall_postgres::LEASES` makes it: give the store a table of its own",
        ),
        (
            &[SqlState::INSUFFICIENT_PRIVILEGE],
            ": grant this user select, insert and update on the table",
        ),
        (
            &[SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE],
            ": this is a replica: connect to the primary (`target_session_attrs=read-write`)",
        ),
        (
            &[SqlState::INVALID_PASSWORD, SqlState::INVALID_AUTHORIZATION_SPECIFICATION],
            ": check the user and the password",
        ),
        (&[SqlState::INVALID_CATALOG_NAME], ": check the name of the database"),
        (
            &[SqlState::LOCK_NOT_AVAILABLE],
            ": somebody holds the row in an open transaction: see pg_stat_activity",
        ),
        (&[SqlState::TOO_MANY_CONNECTIONS], ": raise max_connections, or take fewer with a pool"),
    ];
    let is_missing = [SqlState::UNDEFINED_FUNCTION, SqlState::FEATURE_NOT_SUPPORTED].contains(code);
    if is_missing && text.contains("_wal") {
        return NO_TIMELINE;
    }
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        if text.contains("pg_ls_waldir") {
            return MONITOR;
        } else if text.contains("schema") {
            return SCHEMA;
        }
    }
    let found = REMEDIES.iter().find(|(codes, _)| codes.contains(code));
    found.map_or("", |(_, remedy)| remedy)
}
