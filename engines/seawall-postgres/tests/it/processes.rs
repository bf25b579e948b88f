//! Three processes, one lease: whatever is stopped and continued, what the leaders write is in the order of their terms.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use seawall::leader::{Candidate, LeaderLayer};
use seawall::{Error, Reason};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_postgres::{Client, NoTls};
use tower::{Layer, Service};

use super::*;

/// The connection string of the server, for a process that is a candidate.
const SERVER: &str = "SEAWALL_TEST_SERVER";
const POD: &str = "SEAWALL_TEST_POD";

const TABLES: &str = "create table resource (id int primary key, fence bigint not null); \
    insert into resource values (1, 0); \
    create table written (nth bigserial, epoch bigint not null)";
/// The fence is in the statement that writes, and what was written is told in the order of the writes.
const WRITE: &str = "with fenced as (update resource set fence = $1 where id = 1 and fence <= $1 returning fence) \
    insert into written (epoch) select fence from fenced";

/// One of the three. It runs in a process of its own, and is nothing in this one.
#[tokio::test]
async fn a_candidate_in_a_process_of_its_own() {
    let (Ok(server), Ok(pod)) = (std::env::var(SERVER), std::env::var(POD)) else { return };
    let config: tokio_postgres::Config = server.parse().unwrap();
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    let client = Arc::new(client);
    let store = LeaseStore::new(&seawall_postgres::Clients::connect(config, NoTls));
    let candidate = Candidate::builder("resource", store).holder(&*pod).ttl(Duration::from_secs(2));
    let mut candidate = candidate.build().unwrap();
    let job = |term: seawall::leader::Term| {
        let (pod, client, epoch) = (pod.clone(), Arc::clone(&client), term.epoch());
        async move {
            println!("\n{pod} leads {epoch}");
            // What is spawned does not end with the term. That is a defect, which the fence is for.
            tokio::spawn(writes(pod, client, epoch));
            std::future::pending::<()>().await;
        }
    };
    candidate.lead(job).await;
}

/// Writes until it is refused.
async fn writes(pod: String, client: Arc<Client>, epoch: Epoch) {
    let number = i64::try_from(epoch.get()).unwrap();
    while client.execute(WRITE, &[&number]).await.unwrap() == 1 {
        sleep(Duration::from_millis(5)).await;
    }
    println!("\n{pod} refused {epoch}");
}

struct Pods {
    processes: Vec<Child>,
    told: UnboundedReceiver<(usize, String, u64)>,
}

impl Pods {
    fn start(server: &Server) -> Self {
        let (tell, told) = unbounded_channel();
        let url = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", server.port);
        let processes = (0..3).map(|nth| pod(nth, &url, tell.clone())).collect();
        Self { processes, told }
    }

    /// The next one that does this, and its term.
    async fn next(&mut self, what: &str) -> (usize, u64) {
        let waiting = async {
            loop {
                let (pod, does, term) = self.told.recv().await.expect("they are gone");
                if does == what {
                    return (pod, term);
                }
            }
        };
        timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("nobody {what}"))
    }

    fn signal(&self, pod: usize, what: &str) {
        let pid = i32::try_from(self.processes[pod].id()).unwrap();
        assert!(signal(pid, what));
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn pod(nth: usize, server: &str, tell: UnboundedSender<(usize, String, u64)>) -> Child {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["processes::a_candidate_in_a_process_of_its_own", "--exact", "--nocapture"])
        .env(SERVER, server)
        .env(POD, format!("pod-{nth}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let words: Vec<_> = line.split(' ').collect();
            if let [pod, does, term] = words[..]
                && pod == format!("pod-{nth}")
                && let Ok(term) = term.parse()
            {
                let _ = tell.send((nth, does.to_owned(), term));
            }
        }
    });
    process
}

// pitfall B44
#[tokio::test]
async fn the_leader_of_three_processes_is_stopped_past_its_term() {
    let Some(server) = Server::start() else { return };
    let client = server.client().await;
    server.leases().await;
    client.batch_execute(TABLES).await.unwrap();
    let mut pods = Pods::start(&server);
    let (mut leader, mut term) = pods.next("leads").await;
    for _ in 0..2 {
        pods.signal(leader, "-STOP");
        let (next, later) = pods.next("leads").await;
        assert!(
            next != leader && later > term,
            "pod-{next} in {later}, after pod-{leader} in {term}"
        );
        // It has written, so the fence is up.
        let sql = "select count(*) from written where epoch = $1";
        let number = i64::try_from(later).unwrap();
        until("it writes", async || {
            let row = client.query_one(sql, &[&number]).await.unwrap();
            (row.get::<_, i64>(0) > 0).then_some(())
        })
        .await;
        pods.signal(leader, "-CONT");
        assert_eq!(pods.next("refused").await, (leader, term), "what it writes comes late");
        (leader, term) = (next, later);
    }
    pods.processes[leader].kill().unwrap(); // without a word
    let (next, later) = pods.next("leads").await;
    assert!(next != leader && later > term);
    drop(pods);
    let rows = client.query("select epoch from written order by nth", &[]).await.unwrap();
    let epochs: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    assert!(epochs.is_sorted(), "nobody writes after a later term has written: {epochs:?}");
}

/// A store that looks how many calls are in flight when the lease is given back.
#[derive(Clone)]
struct Watched {
    store: LeaseStore,
    in_flight: Arc<AtomicUsize>,
    at_release: Arc<AtomicUsize>,
}

impl Service<Ask> for Watched {
    type Response = Answer;
    type Error = seawall_postgres::PostgresError;
    type Future = <LeaseStore as Service<Ask>>::Future;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.store.poll_ready(cx)
    }

    fn call(&mut self, ask: Ask) -> Self::Future {
        if matches!(ask, Ask::Release { .. }) {
            self.at_release.store(self.in_flight.load(Ordering::SeqCst), Ordering::SeqCst);
        }
        self.store.call(ask)
    }
}

// pitfall B45
#[tokio::test]
async fn no_call_is_in_flight_when_the_lease_is_given_back_under_load() {
    let Some(server) = Server::start() else { return };
    let in_flight = Arc::new(AtomicUsize::new(0));
    let at_release = Arc::new(AtomicUsize::new(usize::MAX));
    let store = server.leases().await;
    let watched = Watched {
        store: store.clone(),
        in_flight: Arc::clone(&in_flight),
        at_release: Arc::clone(&at_release),
    };
    let candidate = Candidate::builder("jobs", watched).build().unwrap();
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    leads(&leadership).await;

    let client = server.client().await;
    let work = tower::service_fn(move |(): ()| {
        let (client, in_flight) = (Arc::clone(&client), Arc::clone(&in_flight));
        async move {
            in_flight.fetch_add(1, Ordering::SeqCst);
            let done = client.query("select pg_sleep(0.02)", &[]).await;
            in_flight.fetch_sub(1, Ordering::SeqCst);
            done.map(drop).map_err(Error::Inner)
        }
    });
    let jobs = LeaderLayer::new("jobs", &leadership).layer(work);
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let jobs = jobs.clone();
            tokio::spawn(async move {
                let mut done = 0;
                loop {
                    match jobs.clone().oneshot(()).await {
                        Ok(()) => done += 1,
                        Err(Error::Rejected(why)) => break (done, why.reason()),
                        Err(other) => panic!("{other}"),
                    }
                }
            })
        })
        .collect();
    sleep(Duration::from_millis(300)).await;
    leadership.resign().await;
    assert_eq!(at_release.load(Ordering::SeqCst), 0);
    assert_eq!(ask(&store, look()).await, Answer::Free);
    let mut all = 0;
    for call in calls {
        let (done, why) = call.await.unwrap();
        assert_eq!(why, Reason::NotLeader);
        all += done;
    }
    assert!(all > 0);
}
