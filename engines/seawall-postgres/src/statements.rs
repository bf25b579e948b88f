//! The SQL of leases. Each question is one statement.

/// What the questions to one table are.
pub(crate) struct Statements {
    pub(crate) create: String,
    pub(crate) acquire: String,
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
/// and no answer before it is written, for an epoch that a crash takes back would be given twice.
const SESSION: &str = "session as materialized (select set_config('lock_timeout', '1s', true), \
     set_config('synchronous_commit', 'on', true))";
/// The epoch before the first one of the server's present timeline. A promoted replica counts on from here, for it
/// may not have heard of the latest terms.
const TIMELINE: &str = "((('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint \
     - 1) << 40)";

impl Statements {
    pub(crate) fn of(table: &str) -> Self {
        let held = |besides: &str| {
            format!(
                "select null::bigint, l.holder, {LEFT} from {table} l \
                 where l.name = $1 and {IS_HELD}{besides}"
            )
        };
        // The rows of others are read as they were before: there is none if somebody was faster just now.
        let acquire = format!(
            "with {SESSION}, claimed as ( \
               update {table} l set holder = $2, expires = {END}, \
                 epoch = greatest(l.epoch, {TIMELINE}) + 1 \
               from session where l.name = $1 and (l.holder is null or l.expires <= clock_timestamp()) \
               returning l.epoch \
             ), made as ( \
               insert into {table} as l (name, epoch, holder, expires) \
               select $1, {TIMELINE} + 1, $2, {END} from session \
               where not exists (select from {table} l where l.name = $1) \
               on conflict (name) do nothing returning l.epoch \
             ) \
             select epoch, null::text, null::bigint from claimed union all \
             select epoch, null, null from made union all {}",
            held("")
        );
        let renew = format!(
            "with {SESSION}, kept as ( \
               update {table} l set expires = {END} \
               from session where l.name = $1 and l.holder = $2 and l.expires > clock_timestamp() \
               returning l.epoch \
             ) \
             select epoch, null::text, null::bigint from kept union all {}",
            held(" and l.holder <> $2")
        );
        let release = format!(
            "with {SESSION}, freed as ( \
               update {table} l set holder = null from session where l.name = $1 and l.holder = $2 \
             ) {}",
            held(" and l.holder <> $2")
        );
        let create = format!(
            "create table if not exists {table} (\n    \
               name text primary key,\n    \
               epoch bigint not null, -- only grows: rows are never deleted\n    \
               holder text, -- null: nobody\n    \
               expires timestamptz not null\n\
             ) with (fillfactor = 50)"
        );
        Self { create, acquire, renew, release, look: held("") }
    }
}
