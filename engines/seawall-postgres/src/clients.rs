//! Where questions get their clients from.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Mutex as Queue;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, Error, Row, Socket};
use tower::BoxError;

use crate::error::{PostgresError, is_lost};

/// The values of a question, with their types.
pub(crate) type Values<'a> = [(&'a (dyn ToSql + Sync), Type)];

type Later<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Where a store gets its clients from: a connection that it keeps, or a pool of yours. Clones share it.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use seawall_postgres::{Clients, LeaseStore};
/// use tokio_postgres::NoTls;
///
/// let clients = Clients::connect("host=10.0.0.7 user=app dbname=jobs".parse()?, NoTls);
/// LeaseStore::new(&clients).create_table().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Clients(Arc<Inner>);

struct Inner {
    /// For errors: without a password.
    address: Arc<str>,
    source: Source,
}

enum Source {
    Kept(Kept),
    Pooled(Box<dyn Fn() -> Later<Box<dyn Lend>> + Send + Sync>),
}

/// One connection, for as long as it is good.
struct Kept {
    connect: Box<dyn Fn() -> Later<Connection> + Send + Sync>,
    /// Whoever finds none makes one, and the others wait for that.
    queue: Queue<()>,
    present: Mutex<Option<Arc<Connection>>>,
}

struct Connection {
    client: Client,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The server may stand still, and would never read that nobody wants to know any more.
        self.task.abort();
    }
}

/// A client of a pool, and the way to it.
struct Pooled<C> {
    pooled: C,
    client: fn(&C) -> &Client,
}

trait Lend: Send + Sync {
    fn client(&self) -> &Client;
}

impl<C: Send + Sync> Lend for Pooled<C> {
    fn client(&self) -> &Client {
        (self.client)(&self.pooled)
    }
}

impl Clients {
    /// One connection, which is made for the first question, and made again when it was lost.
    ///
    /// A question that was given up (its future was dropped) gives the connection up too, so that the next one does
    /// not wait behind it for a server that stands still.
    pub fn connect<T>(config: Config, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::Stream: Send + 'static,
        T::TlsConnect: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        let address = address_of(&config);
        Self::connect_with(address, move || {
            let (config, tls) = (config.clone(), tls.clone());
            async move { config.connect(tls).await }
        })
    }

    /// The same, by a connector of yours: for passwords that change, or sockets of your own. It returns a client and the
    /// connection that drives it, which the store spawns.
    ///
    /// `address` is how errors call the server.
    ///
    /// ```
    /// use seawall_postgres::Clients;
    /// use tokio_postgres::NoTls;
    ///
    /// async fn token() -> String {
    ///     "of this hour".into()
    /// }
    /// let clients = Clients::connect_with("10.0.0.7/jobs", || async {
    ///     let mut config: tokio_postgres::Config = "host=10.0.0.7 user=app dbname=jobs".parse()?;
    ///     config.password(token().await).connect(NoTls).await
    /// });
    /// assert_eq!(clients.address(), "10.0.0.7/jobs");
    /// ```
    pub fn connect_with<F, Fut, C, E>(address: impl Into<Arc<str>>, connect: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(Client, C), E>> + Send + 'static,
        C: Future<Output: Send> + Send + 'static,
        E: Into<BoxError>,
    {
        let connect = move || {
            let connecting = connect();
            let later: Later<Connection> = Box::pin(async move {
                let (client, connection) = connecting.await.map_err(Into::into)?;
                // How it ends is told to whoever asks: the client knows.
                let task = tokio::spawn(async move { drop(connection.await) });
                Ok(Connection { client, task })
            });
            later
        };
        let kept =
            Kept { connect: Box::new(connect), queue: Queue::new(()), present: Mutex::new(None) };
        Self::of(address.into(), Source::Kept(kept))
    }

    /// Clients of a pool, or whatever else gives one for each question. `client` is how to get from what is pooled
    /// to the client in it: `|pooled| pooled`, for the compiler follows `Deref`.
    ///
    /// A question that was given up gives its client back while the server may still be busy with it. So let the pool
    /// have a limit of its own for that (`statement_timeout`).
    ///
    /// ```
    /// use seawall_postgres::{Clients, LeaseStore};
    /// use std::convert::Infallible;
    /// use std::sync::Arc;
    /// use tokio_postgres::Client;
    ///
    /// fn store_of(client: Arc<Client>) -> LeaseStore {
    ///     let get = move || std::future::ready(Ok::<_, Infallible>(Arc::clone(&client)));
    ///     LeaseStore::new(&Clients::pooled("10.0.0.7/jobs", get, |client| client))
    /// }
    /// # let _ = store_of;
    /// ```
    pub fn pooled<F, Fut, C, E>(
        address: impl Into<Arc<str>>,
        get: F,
        client: fn(&C) -> &Client,
    ) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C, E>> + Send + 'static,
        C: Send + Sync + 'static,
        E: Into<BoxError>,
    {
        let get = move || {
            let getting = get();
            let later: Later<Box<dyn Lend>> = Box::pin(async move {
                let pooled = getting.await.map_err(Into::into)?;
                Ok(Box::new(Pooled { pooled, client }) as Box<dyn Lend>)
            });
            later
        };
        Self::of(address.into(), Source::Pooled(Box::new(get)))
    }

    fn of(address: Arc<str>, source: Source) -> Self {
        Self(Arc::new(Inner { address, source }))
    }

    /// How errors call the server: host, port and database.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    pub(crate) fn shared_address(&self) -> &Arc<str> {
        &self.0.address
    }

    /// It answered, and not what was asked.
    pub(crate) fn silent(&self) -> PostgresError {
        let source = "it gave no row where there is always one".into();
        PostgresError::Unexpected { address: Arc::clone(&self.0.address), source }
    }

    /// Asks once; and once more over a new connection if the kept one turns out to have been lost meanwhile. So a
    /// question must be one that may be asked twice.
    pub(crate) async fn query(
        &self,
        sql: &str,
        values: &Values<'_>,
    ) -> Result<Vec<Row>, PostgresError> {
        let mut lent = self.lend().await?;
        let answer = lent.query(sql, values).await;
        match answer {
            Err(error) if lent.was_used && is_lost(&error) => {
                drop(lent);
                self.lend().await?.query(sql, values).await
            }
            answer => answer,
        }
        .map_err(|error| PostgresError::of(&self.0.address, error))
    }

    /// Several statements at once, without values.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), PostgresError> {
        let mut lent = self.lend().await?;
        let done = lent.client().batch_execute(sql).await;
        lent.is_answered = done.as_ref().err().is_none_or(|error| !is_lost(error));
        done.map_err(|error| PostgresError::of(&self.0.address, error))
    }

    async fn lend(&self) -> Result<Lent<'_>, PostgresError> {
        let unreachable = |error| PostgresError::unreachable(&self.0.address, error);
        match &self.0.source {
            Source::Pooled(get) => {
                let pooled = get().await.map_err(unreachable)?;
                Ok(Lent { held: Held::Pooled(pooled), was_used: true, is_answered: true })
            }
            Source::Kept(kept) => {
                if let Some(connection) = kept.good() {
                    return Ok(Lent::kept(kept, connection, true));
                }
                let _turn = kept.queue.lock().await;
                if let Some(connection) = kept.good() {
                    return Ok(Lent::kept(kept, connection, true));
                }
                let connection = Arc::new((kept.connect)().await.map_err(unreachable)?);
                *kept.present() = Some(Arc::clone(&connection));
                Ok(Lent::kept(kept, connection, false))
            }
        }
    }
}

impl fmt::Debug for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clients").field("address", &self.0.address).finish_non_exhaustive()
    }
}

impl Kept {
    fn present(&self) -> MutexGuard<'_, Option<Arc<Connection>>> {
        lock(&self.present)
    }

    fn good(&self) -> Option<Arc<Connection>> {
        self.present().clone().filter(|connection| !connection.client.is_closed())
    }

    /// Whoever asks next makes another one.
    fn give_up(&self, connection: &Arc<Connection>) {
        let given_up = self.present().take_if(|present| Arc::ptr_eq(present, connection));
        drop(given_up); // after the unlock
    }
}

// ===== Lent =====

/// A client for one question.
struct Lent<'a> {
    held: Held<'a>,
    /// Others asked by it before, so it may have been lost since.
    was_used: bool,
    /// Nothing is on its way by it.
    is_answered: bool,
}

enum Held<'a> {
    Kept(&'a Kept, Arc<Connection>),
    Pooled(Box<dyn Lend>),
}

impl<'a> Lent<'a> {
    fn kept(kept: &'a Kept, connection: Arc<Connection>, was_used: bool) -> Self {
        Self { held: Held::Kept(kept, connection), was_used, is_answered: false }
    }

    fn client(&self) -> &Client {
        match &self.held {
            Held::Kept(_, connection) => &connection.client,
            Held::Pooled(pooled) => pooled.client(),
        }
    }
}

impl Lent<'_> {
    /// Not prepared: by the name of a prepared statement, a pooler in between may find one of somebody else's.
    async fn query(&mut self, sql: &str, values: &Values<'_>) -> Result<Vec<Row>, Error> {
        let answer = self.client().query_typed(sql, values).await;
        self.is_answered = answer.as_ref().err().is_none_or(|error| !is_lost(error));
        answer
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Held::Kept(kept, connection) = &self.held
            && !self.is_answered
        {
            kept.give_up(connection);
        }
    }
}

/// The server of these settings, as errors call it.
fn address_of(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(path) => path.display().to_string(),
    });
    let mut hosts: Vec<_> = hosts.collect();
    if hosts.is_empty() {
        hosts = config.get_hostaddrs().iter().map(ToString::to_string).collect();
    }
    let ports = config.get_ports();
    for (nth, host) in hosts.iter_mut().enumerate() {
        let port = ports.get(nth).or(ports.first()).copied().unwrap_or(5432);
        *host = format!("{host}:{port}");
    }
    let database = config.get_dbname().or(config.get_user()).unwrap_or_default();
    format!("{}/{database}", hosts.join(","))
}
