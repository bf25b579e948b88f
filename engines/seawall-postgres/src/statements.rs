//! The SQL of leases. Each question is one statement.

/// What the questions to one table are.
pub(crate) struct Statements {
    pub(crate) table: String,
    pub(crate) create: String,
    pub(crate) acquire: String,
    /// To acquire what has no row yet.
    pub(crate) begin: String,
    pub(crate) renew: String,
    pub(crate) release: String,
    pub(crate) look: String,
}

/// A lease that somebody has.
const IS_HELD: &str = "l.holder is not null and l.expires > clock_timestamp()";
/// For how long, in microseconds.
const LEFT: &str = "(extract(epoch from l.expires - clock_timestamp()) * 1000000)::bigint";
/// The end of a lease that begins now, of `$3` microseconds.
const END: &str = "clock_timestamp() + $3 * interval '1 microsecond'";
/// For this transaction: what it waits for a lock at most, so that questions that were given up do not pile up behind one;
/// and no answer before it is written, for an epoch that a crash takes back would be given twice. As a condition it is
/// met before there is a row to lock, and costs no plan of its own.
const DURABLY: &str = "set_config('lock_timeout', '1s', true) <> '' \
     and set_config('synchronous_commit', 'on', true) <> ''";
/// The epoch before the first one of the server's present timeline. A promoted replica counts on from here, for it
/// may not have heard of the latest terms.
pub(crate) const TIMELINE: &str = "((('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint \
     - 1) << 40)";

impl Statements {
    /// `before` is the epoch before the first one.
    pub(crate) fn of(table: &str, before: &str) -> Self {
        let look = format!(
            "select null::bigint, l.holder, {LEFT} from {table} l where l.name = $1 and {IS_HELD}"
        );
        // The rows of others are read as they were before: there is none if somebody was faster just now.
        let acquire = format!(
            "with claimed as ( \
               update {table} l set holder = $2, expires = {END}, \
                 epoch = greatest(l.epoch, {before}) + 1 \
               where l.name = $1 and (l.holder is null or l.expires <= clock_timestamp()) and {DURABLY} \
               returning l.epoch \
             ) select epoch, null::text, null::bigint from claimed union all {look}"
        );
        let begin = format!(
            "insert into {table} as l (name, epoch, holder, expires) \
             select $1, {before} + 1, $2, {END} where {DURABLY} \
             on conflict (name) do nothing returning l.epoch"
        );
        let renew = format!(
            "update {table} l set expires = {END} \
             where l.name = $1 and l.holder = $2 and l.expires > clock_timestamp() and {DURABLY} \
             returning l.epoch"
        );
        let release = format!(
            "update {table} l set holder = null \
             where l.name = $1 and l.holder = $2 and {DURABLY} returning l.epoch"
        );
        let create = format!(
            "create table if not exists {table} (\n    \
               name text primary key,\n    \
               epoch bigint not null, -- only grows: rows are never deleted\n    \
               holder text, -- null: nobody\n    \
               expires timestamptz not null\n\
             ) with (fillfactor = 50)"
        );
        Self { table: table.to_owned(), create, acquire, begin, renew, release, look }
    }
}
