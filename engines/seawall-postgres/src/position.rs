//! How far a server is: for reads from replicas that have what was written.

use seawall::Position;
use tokio_postgres::Row;

use crate::clients::Clients;
use crate::error::PostgresError;

/// A place in the write-ahead log that is no place yet is told by what lies around it.
const PRIMARY: &str = "select ('x' || substr(pg_walfile_name(at), 1, 8))::bit(32)::bigint, (at - '0/0')::bigint, \
     current_setting('wal_block_size')::bigint, pg_size_bytes(current_setting('wal_segment_size')), \
     txid_current_if_assigned() is not null \
     from (select pg_current_wal_insert_lsn() as at offset 0) present";

/// The place first, and then the timelines: of a timeline that was found later, it may be said too early that it is
/// there, and never too late.
const REPLICA: &str = "select timeline, (at - '0/0')::bigint from \
     (select pg_last_wal_replay_lsn() as at offset 0) replayed, \
     lateral (select max(('x' || substr(name, 1, 8))::bit(32)::bigint) as timeline from pg_ls_waldir() \
       where at is not null and name ~ '^[0-9A-F]{24}$') seen \
     where pg_is_in_recovery()";

/// The bytes with which a page of the write-ahead log begins, and the first page of a file of it.
const PAGE_HEADER: u64 = 24;
const FILE_HEADER: u64 = 40;

/// How far the primary is: everything that was committed before the question is at or before this position.
///
/// Ask *after* the commit: a position from within the transaction lies before its commit, and a replica that has reached it may
/// not show the write. It is where the next record would begin, flushed or not, so it holds for commits with
/// `synchronous_commit = off` too. The [era](Position::era) is the timeline, which a promotion changes.
///
/// It may be dropped at any time.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use seawall_postgres::{Clients, position_of_primary, position_of_replica};
/// use tokio_postgres::NoTls;
///
/// let primary = Clients::connect("host=10.0.0.7 user=app dbname=shop".parse()?, NoTls);
/// let replica = Clients::connect("host=10.0.0.8 user=app dbname=shop".parse()?, NoTls);
/// // … an order is committed on the primary …
/// let written = position_of_primary(&primary).await?;
/// if position_of_replica(&replica).await? >= written {
///     // the replica shows the order
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// The server cannot be reached, is a replica, or a pool gave a client within a transaction.
pub async fn position_of_primary(clients: &Clients) -> Result<Position, PostgresError> {
    let rows = clients.query(PRIMARY, &[]).await?;
    let row = rows.first().ok_or_else(|| clients.silent())?;
    if value::<bool>(clients, row, 4)? {
        return Err(PostgresError::InTransaction { address: clients.shared_address().clone() });
    }
    let [at, page, file] =
        [number(clients, row, 1)?, number(clients, row, 2)?, number(clients, row, 3)?];
    Ok(Position { era: era(clients, row)?, at: end_of_record(at, page, file) })
}

/// How far a replica is: what it shows. After its promotion, how far the primary is that it has become.
///
/// The [era](Position::era) is the latest timeline of which the replica has anything, so the position of a replica that
/// follows a promotion compares with positions from before it no more. Finding that out needs the role
/// `pg_monitor`: `grant pg_monitor to app`.
///
/// # Errors
///
/// The server cannot be reached, does not allow to look, or is about to begin and has replayed nothing.
pub async fn position_of_replica(clients: &Clients) -> Result<Position, PostgresError> {
    let rows = clients.query(REPLICA, &[]).await?;
    match rows.first() {
        Some(row) => Ok(Position { era: era(clients, row)?, at: number(clients, row, 1)? }),
        None => position_of_primary(clients).await,
    }
}

/// Where the last record ended, if the next one would begin there. It would begin behind the header of a page, and no
/// replica is told of a header without a record.
fn end_of_record(at: u64, page: u64, file: u64) -> u64 {
    let header = if at.checked_rem(file) == Some(FILE_HEADER) { FILE_HEADER } else { PAGE_HEADER };
    if at.checked_rem(page) == Some(header) { at - header } else { at }
}

fn era(clients: &Clients, row: &Row) -> Result<u32, PostgresError> {
    u32::try_from(number(clients, row, 0)?).map_err(|_| clients.silent())
}

fn number(clients: &Clients, row: &Row, column: usize) -> Result<u64, PostgresError> {
    value::<i64>(clients, row, column).map(i64::unsigned_abs)
}

fn value<'a, T: tokio_postgres::types::FromSql<'a>>(
    clients: &Clients,
    row: &'a Row,
    column: usize,
) -> Result<T, PostgresError> {
    row.try_get(column).map_err(|error| PostgresError::of(clients.shared_address(), error))
}

#[cfg(test)]
mod tests {
    use super::end_of_record;

    const PAGE: u64 = 8 * 1024;
    const FILE: u64 = 16 * 1024 * 1024;

    #[test]
    fn a_page_without_a_record_is_not_waited_for() {
        let end = |at| end_of_record(at, PAGE, FILE);
        assert_eq!(end(3 * PAGE + 24), 3 * PAGE);
        assert_eq!(end(3 * FILE + 40), 3 * FILE);
        for at in [
            0,
            3 * PAGE,
            3 * PAGE + 32,
            3 * PAGE + 40,
            3 * FILE,
            3 * FILE + 48,
            3 * FILE + PAGE + 40,
        ] {
            assert_eq!(end(at), at);
        }
        assert_eq!(end_of_record(7, 0, 0), 7);
    }
}
