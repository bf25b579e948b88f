//! Shards under load on real sockets, while keys move between owners, coordinators give up, and owners are killed and start
//! again: no write that was confirmed is lost, and none is done twice.
//!
//! Some seconds in the suite; longer by
//!
//! ```text
//! SEAWALL_SOAK=600 cargo test --release --all-features --test soak_shards -- --nocapture
//! ```
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use seawall::http::{OwnerHint, RejectionResponseLayer};
use seawall::retry::Cloned;
use seawall::shards::{Key, Map, MoveRecord, OwnsHandle, OwnsLayer, Shards, ShardsHandle};
use seawall::{Epoch, Error};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

const OWNERS: usize = 3;
const TENANTS: usize = 12;
const CALLERS: usize = 8;

#[allow(clippy::disallowed_methods)] // a test may read the clock
fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

fn owner(nth: usize) -> String {
    format!("shard-{nth}")
}

fn tenant(nth: usize) -> String {
    format!("/tenant-{nth}")
}

/// Which owner each tenant has.
fn map(epoch: Epoch, owners: &[usize]) -> Map {
    let listed = owners.iter().enumerate().map(|(nth, at)| (tenant(nth), owner(*at)));
    Map::directory(epoch, (0..OWNERS).map(owner), listed).unwrap()
}

/// What would be in a database with a compare-and-set.
struct Directory {
    map: Map,
    /// The move that was recorded last: who leaves keys, the map it is to come to, and what became of it.
    latest: Option<(usize, Map, MoveRecord)>,
}

impl Directory {
    fn set(&mut self, epoch: Epoch, from: MoveRecord, to: MoveRecord) -> bool {
        match &mut self.latest {
            Some((_, next, record)) if next.epoch() == epoch && *record == from => {
                *record = to;
                true
            }
            _ => false,
        }
    }

    fn record(&self, epoch: Epoch) -> MoveRecord {
        let latest = self.latest.as_ref().filter(|(_, next, _)| next.epoch() == epoch);
        latest.map_or(MoveRecord::None, |(_, _, record)| *record)
    }
}

/// What an owner has on its disk: the writes of each tenant.
type Disk = Arc<Mutex<BTreeMap<String, Vec<u64>>>>;

/// A process that can be killed.
struct Running {
    handle: OwnsHandle,
    address: SocketAddr,
    tasks: JoinSet<()>,
}

struct World {
    directory: Mutex<Directory>,
    disks: Vec<Disk>,
    running: Mutex<Vec<Option<Running>>>,
    /// How often each write was done, by whomever.
    done: Mutex<BTreeMap<u64, u32>>,
    confirmed: Mutex<Vec<(String, u64)>>,
    next: AtomicU64,
    over: AtomicBool,
}

impl World {
    fn handle(&self, nth: usize) -> Option<OwnsHandle> {
        self.running.lock().unwrap()[nth].as_ref().map(|running| running.handle.clone())
    }

    fn address(&self, nth: usize) -> Option<SocketAddr> {
        self.running.lock().unwrap()[nth].as_ref().map(|running| running.address)
    }

    /// An owner starts, with what the directory says.
    async fn starts(self: &Arc<Self>, nth: usize) {
        let owns = {
            let directory = self.directory.lock().unwrap();
            let owns = OwnsLayer::builder("orders", owner(nth))
                .key(|request: &Request<Incoming>| Key::from(request.uri().path()))
                .map(directory.map.clone())
                .max_hold(Duration::from_millis(200));
            match &directory.latest {
                Some((from, next, record)) if *from == nth => owns.moving(next.clone(), *record),
                _ => owns,
            }
        };
        let owns = owns.build().unwrap();
        let (handle, world) = (owns.handle(), Arc::clone(self));
        let work = service_fn(move |request: Request<Incoming>| {
            let world = Arc::clone(&world);
            async move {
                let id: u64 = request.uri().query().unwrap().parse().unwrap();
                sleep(Duration::from_micros(u64::from(fastrand::u16(..2_000)))).await;
                *world.done.lock().unwrap().entry(id).or_default() += 1;
                let mut disk = world.disks[nth].lock().unwrap();
                disk.entry(request.uri().path().to_owned()).or_default().push(id);
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        });
        let server = ServiceBuilder::new()
            .layer(RejectionResponseLayer::new())
            .layer(owns)
            .map_err(Error::Inner)
            .service(work);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let server = TowerToHyperService::new(server.clone());
                connections.spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    http.serve_connection(TokioIo::new(stream), server).await.ok();
                });
            }
        });
        self.running.lock().unwrap()[nth] = Some(Running { handle, address, tasks });
    }

    /// All that it has in memory is gone, and every call in flight.
    async fn is_killed(self: &Arc<Self>, nth: usize) {
        let killed = self.running.lock().unwrap()[nth].take();
        if let Some(Running { mut tasks, .. }) = killed {
            tasks.shutdown().await;
        }
        sleep(Duration::from_millis(5)).await;
        self.starts(nth).await;
    }

    /// A tenant moves, or does not, if its coordinator stops on the way. Returns whether it did.
    async fn moves(&self, owners: &mut [usize], stops: u8) -> bool {
        let nth = fastrand::usize(..TENANTS);
        let (from, to) = (owners[nth], (owners[nth] + 1 + fastrand::usize(..OWNERS - 1)) % OWNERS);
        let mut then = owners.to_vec();
        then[nth] = to;
        let (base, next) = {
            let mut directory = self.directory.lock().unwrap();
            let last = directory.latest.as_ref().map_or(Epoch::NOBODY, |(_, next, _)| next.epoch());
            let base = directory.map.epoch();
            let next = map(base.max(last).next(), &then);
            directory.latest = Some((from, next.clone(), MoveRecord::Moving));
            (base, next)
        };
        let epoch = next.epoch();
        let Some(old) = self.handle(from) else { return self.gives_up(from, epoch).await };
        let Ok(holding) = old.hold(next.clone(), MoveRecord::Moving) else {
            return self.gives_up(from, epoch).await;
        };
        if stops == 0 {
            return self.gives_up(from, epoch).await;
        }
        holding.settled().await;
        // The owner may have been killed and started again since then: it holds all the same.
        let left = self.disks[from].lock().unwrap().get(&tenant(nth)).cloned();
        self.disks[to].lock().unwrap().insert(tenant(nth), left.unwrap_or_default());
        if stops == 1 {
            return self.gives_up(from, epoch).await;
        }
        sleep(Duration::from_millis(2)).await;
        let committed = {
            let mut directory = self.directory.lock().unwrap();
            let is_its = directory.map.epoch() == base;
            let done = is_its && directory.set(epoch, MoveRecord::Moving, MoveRecord::Committed);
            if done {
                directory.map = next.clone();
            }
            done
        };
        if committed {
            owners[nth] = to;
        }
        // Whoever is up hears of it; who is not reads it when it starts.
        if let Some(old) = self.handle(from) {
            old.heard(epoch, self.directory.lock().unwrap().record(epoch));
        }
        let (map, others) = (self.directory.lock().unwrap().map.clone(), 0..OWNERS);
        for other in others.filter_map(|other| self.handle(other)) {
            other.adopt(map.clone()).ok();
        }
        committed
    }

    /// The coordinator is gone; the old owner ends the move when it is overdue.
    async fn gives_up(&self, from: usize, epoch: Epoch) -> bool {
        loop {
            if let Some(old) = self.handle(from) {
                let overdue = old.overdue();
                if tokio::time::timeout(Duration::from_millis(300), overdue).await.is_ok() {
                    let read = {
                        let mut directory = self.directory.lock().unwrap();
                        directory.set(epoch, MoveRecord::Moving, MoveRecord::Aborted);
                        directory.record(epoch)
                    };
                    old.heard(epoch, read);
                    return false;
                }
                // It was asked to hold before it was killed, or never: nobody waits for this move.
                if old.holding() != Some(epoch) {
                    let mut directory = self.directory.lock().unwrap();
                    directory.set(epoch, MoveRecord::Moving, MoveRecord::Aborted);
                    return false;
                }
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// One caller: each write is sent once, to whomever the router takes for its owner.
    async fn calls<S, B>(self: Arc<Self>, mut orders: S)
    where
        S: Service<Request<Full<Bytes>>, Response = Response<B>>,
    {
        while !self.over.load(Ordering::Relaxed) {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let tenant = tenant(fastrand::usize(..TENANTS));
            let request = Request::post(format!("{tenant}?{id}")).body(Full::default()).unwrap();
            let Ok(ready) = orders.ready().await else { panic!("a router is always ready") };
            if ready.call(request).await.is_ok_and(|answer| answer.status().is_success()) {
                self.confirmed.lock().unwrap().push((tenant, id));
            }
        }
    }
}

/// The router, which is told of maps now and then only: it goes by hints meanwhile.
fn router(
    world: &Arc<World>,
) -> (
    impl Service<Request<Full<Bytes>>, Response = Response<Incoming>, Future: Send>
    + Clone
    + Send
    + 'static,
    ShardsHandle,
) {
    let (first, world) = (world.directory.lock().unwrap().map.clone(), Arc::clone(world));
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let orders = Shards::builder("orders")
        .key(|request: &Request<Full<Bytes>>| Key::from(request.uri().path()))
        .map(first)
        .redirect(OwnerHint)
        .copy_with(Cloned)
        .over(move |member| {
            let nth = (0..OWNERS).find(|nth| owner(*nth) == member.name()).ok_or("unknown")?;
            let (world, client) = (Arc::clone(&world), client.clone());
            Ok(service_fn(move |mut request: Request<Full<Bytes>>| {
                let (address, client) = (world.address(nth), client.clone());
                async move {
                    let down = || Error::Inner(tower::BoxError::from("it is down"));
                    let address = address.ok_or_else(down)?;
                    let uri = format!("http://{address}{}", request.uri());
                    *request.uri_mut() = uri.parse().unwrap();
                    client.request(request).await.map_err(|error| Error::Inner(error.into()))
                }
            }))
        })
        .unwrap();
    let handle = orders.handle();
    (orders, handle)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_keys_move_and_owners_die_no_confirmed_write_is_lost_and_none_is_done_twice() {
    let seconds = std::env::var("SEAWALL_SOAK").ok().map(|text| text.parse().expect("seconds"));
    let time = Duration::from_secs(seconds.unwrap_or(3));
    let mut owners: Vec<_> = (0..TENANTS).map(|nth| nth % OWNERS).collect();
    let world = Arc::new(World {
        directory: Mutex::new(Directory { map: map(Epoch::new(1), &owners), latest: None }),
        disks: (0..OWNERS).map(|_| Disk::default()).collect(),
        running: Mutex::new((0..OWNERS).map(|_| None).collect()),
        done: Mutex::default(),
        confirmed: Mutex::default(),
        next: AtomicU64::new(0),
        over: AtomicBool::new(false),
    });
    for nth in 0..OWNERS {
        world.starts(nth).await;
    }
    let (orders, handle) = router(&world);
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        callers.spawn(Arc::clone(&world).calls(orders.clone()));
    }
    let killing = tokio::spawn({
        let world = Arc::clone(&world);
        async move {
            let mut kills = 0_u32;
            while !world.over.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(50 + u64::from(fastrand::u8(..100)))).await;
                world.is_killed(fastrand::usize(..OWNERS)).await;
                kills += 1;
            }
            kills
        }
    });
    let (began, mut moved, mut given_up) = (now(), 0_u32, 0_u32);
    while began.elapsed() < time {
        // One in ten coordinators stops on the way.
        let committed = world.moves(&mut owners, fastrand::u8(..20)).await;
        *if committed { &mut moved } else { &mut given_up } += 1;
        if moved.is_multiple_of(8) {
            let map = world.directory.lock().unwrap().map.clone();
            handle.adopt(map).ok();
        }
        sleep(Duration::from_millis(3)).await;
    }
    world.over.store(true, Ordering::Relaxed);
    let kills = killing.await.unwrap();
    callers.join_all().await;

    let (done, confirmed) = (world.done.lock().unwrap(), world.confirmed.lock().unwrap());
    let doubled = done.values().filter(|times| **times > 1).count();
    let mut has: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let last = world.directory.lock().unwrap().map.clone();
    for nth in 0..TENANTS {
        let at = (0..OWNERS).find(|at| owner(*at) == last.owner(&tenant(nth)).name()).unwrap();
        let disk = world.disks[at].lock().unwrap();
        let writes = disk.get(&tenant(nth)).cloned().unwrap_or_default();
        has.insert(tenant(nth), writes.into_iter().collect());
    }
    let missing = confirmed.iter().filter(|(tenant, id)| !has[tenant].contains(id)).count();
    let asked = world.next.load(Ordering::Relaxed);
    println!(
        "{time:?}: {asked} writes, {} confirmed, {moved} moves, {given_up} given up, {kills} kills: {missing} lost, {doubled} doubled",
        confirmed.len()
    );
    assert_eq!((missing, doubled), (0, 0));
    assert!(moved > 0 && kills > 0 && !confirmed.is_empty(), "nothing has happened");
}
