//! A store of leases: one row each.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use seawall::Epoch;
use seawall::leader::{Answer, Ask};
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use tower::Service;

use crate::clients::Clients;
use crate::error::PostgresError;
use crate::statements::{Statements, TIMELINE};

/// The SQL that [`LeaseStore::create_table`] runs: for migrations of your own.
///
/// Whoever holds leases needs `select`, `insert` and `update` on the table. Rows are never deleted: a lease whose row
/// somebody deletes counts its terms from the beginning.
pub const LEASES: &str = "create table if not exists seawall_leases (
    name text primary key,
    epoch bigint not null, -- only grows: rows are never deleted
    holder text, -- null: nobody
    expires timestamptz not null
) with (fillfactor = 50)";

const TABLE: &str = "seawall_leases";
/// The longest name of a table, in bytes.
const MOST_NAME: usize = 63;
/// More than any lease: a year.
const MOST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What `create table if not exists` may say though the table is there: a unique violation, a table or an object that
/// is there, no right to create one.
const MAY_BE_THERE: [&str; 4] = ["23505", "42P07", "42710", "42501"];

/// A store of leases in PostgreSQL. Clones are the same store.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use seawall::leader::{Answer, Ask};
/// use seawall_postgres::{Clients, LeaseStore};
/// use std::time::Duration;
/// use tokio_postgres::NoTls;
/// use tower::ServiceExt;
///
/// let clients = Clients::connect("host=10.0.0.7 user=app dbname=jobs".parse()?, NoTls);
/// let store = LeaseStore::new(&clients);
/// store.create_table().await?;
/// let ttl = Duration::from_secs(15);
/// let ask = Ask::Acquire { lease: "report".into(), holder: "pod-7-5b1c".into(), ttl };
/// assert!(matches!(store.oneshot(ask).await?, Answer::Granted { .. }));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LeaseStore {
    clients: Clients,
    statements: Arc<Statements>,
}

impl LeaseStore {
    /// The leases of the table `seawall_leases`, wherever the server's `search_path` finds it.
    pub fn new(clients: &Clients) -> Self {
        Self { clients: clients.clone(), statements: Arc::new(Statements::of(TABLE, TIMELINE)) }
    }

    /// The leases of another table, such as `ops.leases`: see [`LEASES`] for its columns.
    ///
    /// # Errors
    ///
    /// It is no name: one or two words of letters, digits and underscores, 63 at most.
    pub fn with_table(clients: &Clients, table: &str) -> Result<Self, BadTable> {
        let is_word = |word: &str| {
            let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
            (1..=MOST_NAME).contains(&word.len())
                && word.chars().all(is_letter)
                && !word.starts_with(|c: char| c.is_ascii_digit())
        };
        let words: Vec<_> = table.split('.').collect();
        if words.len() > 2 || !words.iter().all(|word| is_word(word)) {
            return Err(BadTable(table.to_owned()));
        }
        // In quotes, so that it may be a word of SQL; PostgreSQL makes others small too.
        let quoted: Vec<_> =
            words.iter().map(|word| format!("\"{}\"", word.to_ascii_lowercase())).collect();
        let statements = Arc::new(Statements::of(&quoted.join("."), TIMELINE));
        Ok(Self { clients: clients.clone(), statements })
    }

    /// Counts the terms by the table alone, and not by the timeline of the server: for servers without the functions of
    /// the write-ahead log, as some that are hosted. Where such a server is replaced by a copy that has not heard of the latest
    /// terms, their epochs are given twice.
    #[must_use]
    pub fn without_timeline(self) -> Self {
        let statements = Arc::new(Statements::of(&self.statements.table, "0"));
        Self { statements, ..self }
    }

    /// Creates the table if it is not there. Several may do so at once, and one who may not create it finds out whether it is
    /// there.
    ///
    /// # Errors
    ///
    /// The server cannot be reached, or does not allow it.
    pub async fn create_table(&self) -> Result<(), PostgresError> {
        let created = self.clients.run(&self.statements.create).await;
        match created {
            // PostgreSQL looks for rights before it looks for the table; and of two who create it, one is late.
            Err(PostgresError::Answered { ref code, .. }) if MAY_BE_THERE.contains(&&**code) => {
                self.look("").await.map(drop).or(created)
            }
            created => created,
        }
    }

    async fn acquire(
        &self,
        lease: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Answer, PostgresError> {
        let micros = micros(ttl);
        let rows = self.ask(&self.statements.acquire, &[&lease, &holder, &micros]).await?;
        if let Some(granted) = self.granted(&rows, micros)? {
            return Ok(granted);
        }
        let held = self.held(&rows)?;
        if held != Answer::Free {
            return Ok(held);
        }
        // Nobody has had it yet, or somebody was faster, and what the statement saw is from before.
        let rows = self.ask(&self.statements.begin, &[&lease, &holder, &micros]).await?;
        match self.granted(&rows, micros)? {
            Some(granted) => Ok(granted),
            None => self.look(lease).await,
        }
    }

    async fn renew(
        &self,
        lease: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Answer, PostgresError> {
        let micros = micros(ttl);
        let rows = self.ask(&self.statements.renew, &[&lease, &holder, &micros]).await?;
        match self.granted(&rows, micros)? {
            Some(granted) => Ok(granted),
            None => self.look(lease).await,
        }
    }

    async fn release(&self, lease: &str, holder: &str) -> Result<Answer, PostgresError> {
        let rows = self.ask(&self.statements.release, &[&lease, &holder]).await?;
        if rows.is_empty() { self.look(lease).await } else { Ok(Answer::Free) }
    }

    async fn look(&self, lease: &str) -> Result<Answer, PostgresError> {
        let rows = self.ask(&self.statements.look, &[&lease]).await?;
        self.held(&rows)
    }

    async fn ask(
        &self,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, PostgresError> {
        const TYPES: [Type; 3] = [Type::TEXT, Type::TEXT, Type::INT8];
        let values: Vec<_> = values.iter().copied().zip(TYPES).collect();
        self.clients.query(sql, &values).await
    }

    /// A row with an epoch is a term.
    fn granted(&self, rows: &[Row], micros: i64) -> Result<Option<Answer>, PostgresError> {
        let Some(row) = rows.first() else { return Ok(None) };
        let epoch: Option<i64> = row.try_get(0).map_err(|error| self.unexpected(error))?;
        Ok(epoch.map(|epoch| Answer::Granted {
            token: Epoch::new(epoch.unsigned_abs()),
            ttl: Duration::from_micros(micros.unsigned_abs()),
        }))
    }

    /// Any other one tells who has it, and for how long.
    fn held(&self, rows: &[Row]) -> Result<Answer, PostgresError> {
        let Some(row) = rows.first() else { return Ok(Answer::Free) };
        let holder: &str = row.try_get(1).map_err(|error| self.unexpected(error))?;
        let left: i64 = row.try_get(2).map_err(|error| self.unexpected(error))?;
        let expires_in = Some(Duration::from_micros(u64::try_from(left).unwrap_or(0)));
        Ok(Answer::Held { holder: holder.into(), expires_in })
    }

    fn unexpected(&self, error: tokio_postgres::Error) -> PostgresError {
        PostgresError::of(self.clients.shared_address(), error)
    }
}

impl Service<Ask> for LeaseStore {
    type Response = Answer;
    type Error = PostgresError;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, PostgresError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), PostgresError>> {
        Poll::Ready(Ok(())) // each question gets a client of its own, or shares one
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        let store = self.clone();
        Box::pin(async move {
            match ask {
                Ask::Acquire { lease, holder, ttl } => store.acquire(&lease, &holder, ttl).await,
                Ask::Renew { lease, holder, ttl } => store.renew(&lease, &holder, ttl).await,
                Ask::Release { lease, holder } => store.release(&lease, &holder).await,
                Ask::Look { lease } => store.look(&lease).await,
            }
        })
    }
}

impl fmt::Debug for LeaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseStore").field("clients", &self.clients).finish_non_exhaustive()
    }
}

/// A name of a table that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no table: one or two words of letters, digits and underscores, such as `ops.leases`"
)]
pub struct BadTable(String);

fn micros(ttl: Duration) -> i64 {
    i64::try_from(ttl.min(MOST_TTL).as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sql_that_is_shown_is_the_sql_that_is_run() {
        assert_eq!(Statements::of(TABLE, TIMELINE).create, LEASES);
    }
}
