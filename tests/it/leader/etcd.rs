//! Leases in a real etcd, which is started here, stopped, killed and asked wrong things.
//!
//! etcd counts in whole seconds, so these tests wait for real; what they assert does not depend on how long
//! anything takes.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicBool;

use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use seawall::leader::{EtcdStore, LeaderLayer};
use seawall::{Error, http};
use tokio::time::timeout;
use tower::{Layer, util::MapErr};

use super::*;

type Plain = Client<HttpConnector, Full<bytes::Bytes>>;

const ETCD: &str = "etcd";
/// Set where a test must not be skipped for want of a program.
const NEEDED: &str = "SEAWALL_ENGINES";
/// Longer than anything here takes, on a slow machine too.
const LONG: Duration = Duration::from_secs(60);

/// An etcd of its own, in a folder of its own.
struct Etcd {
    process: Child,
    folder: PathBuf,
    port: u16,
    peers: u16,
}

impl Etcd {
    /// `None` where there is no etcd, and tests may be skipped.
    async fn start() -> Option<Self> {
        let [port, peers] = free_ports();
        let folder =
            std::env::temp_dir().join(format!("seawall-etcd-{}-{port}", std::process::id()));
        let Some(process) = Self::run(&folder, port, peers) else {
            assert!(std::env::var_os(NEEDED).is_none(), "no etcd, and {NEEDED} is set");
            println!("skipped: no etcd (apt-get install etcd-server)");
            return None;
        };
        let etcd = Self { process, folder, port, peers };
        etcd.is_ready().await;
        Some(etcd)
    }

    fn run(folder: &PathBuf, port: u16, peers: u16) -> Option<Child> {
        let (clients, peers) =
            (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
        Command::new(ETCD)
            .arg("--data-dir")
            .arg(folder)
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .args(["--initial-cluster", &format!("default={peers}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    }

    async fn is_ready(&self) {
        let ready = async {
            let look = || Ask::Look { lease: "anything".into() };
            while self.store().oneshot(look()).await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(LONG, ready).await.expect("etcd does not start");
    }

    fn store(&self) -> EtcdStore<Plain> {
        EtcdStore::new(format!("http://127.0.0.1:{}", self.port), client()).unwrap()
    }

    fn signal(&self, signal: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Killed, and started again on what it had written.
    async fn restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = Self::run(&self.folder, self.port, self.peers).unwrap();
        self.is_ready().await;
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Both are held before one is let go, so that they are not the same.
fn free_ports() -> [u16; 2] {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let held = [(); 2].map(|()| TcpListener::bind(any).unwrap());
    held.map(|port| port.local_addr().unwrap().port())
}

fn client() -> Plain {
    Client::builder(TokioExecutor::new()).build_http()
}

fn brief<S>(store: S) -> Candidate<S>
where
    S: Service<Ask, Response = Answer>,
{
    Candidate::builder("jobs", store).ttl(Duration::from_secs(2)).build().unwrap()
}

async fn soon(leadership: &Leadership, state: State) {
    let reached = timeout(LONG, until(leadership, state)).await;
    reached.unwrap_or_else(|_| {
        panic!("{leadership:?}, and not {state}: {:?}", leadership.last_error())
    });
}

/// The epoch of a term, as soon as there is one.
async fn leads(leadership: &Leadership) -> Epoch {
    let term = async {
        loop {
            if let Some(epoch) = epoch(leadership) {
                return epoch;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    let led = timeout(LONG, term).await;
    led.unwrap_or_else(|_| panic!("it does not lead: {:?}", leadership.last_error()))
}

async fn ask(store: &EtcdStore<Plain>, ask: Ask) -> Answer {
    store.clone().oneshot(ask).await.unwrap()
}

fn acquire(holder: &str) -> Ask {
    Ask::Acquire { lease: "jobs".into(), holder: holder.into(), ttl: Duration::from_secs(60) }
}

fn renew(holder: &str) -> Ask {
    Ask::Renew { lease: "jobs".into(), holder: holder.into(), ttl: Duration::from_secs(60) }
}

#[tokio::test]
async fn it_keeps_the_contract_of_a_store() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let store = etcd.store();
    let release = |holder: &str| Ask::Release { lease: "jobs".into(), holder: holder.into() };
    let look = || Ask::Look { lease: "jobs".into() };
    assert_eq!(ask(&store, look()).await, Answer::Free);
    assert_eq!(ask(&store, renew("a")).await, Answer::Free, "there is nothing to renew");
    let Answer::Granted { token: first, ttl } = ask(&store, acquire("a")).await else { panic!() };
    assert_eq!(ttl, Duration::from_secs(60));
    let Answer::Held { holder, expires_in } = ask(&store, acquire("a")).await else { panic!() };
    assert_eq!((&*holder, expires_in), ("a", None), "its own, says the second answer");
    let Answer::Held { holder, expires_in } = ask(&store, acquire("b")).await else { panic!() };
    assert_eq!(&*holder, "a");
    assert!(expires_in.is_some_and(|left| left > Duration::ZERO && left <= ttl), "{expires_in:?}");
    let Answer::Held { .. } = ask(&store, renew("b")).await else { panic!("it is not b's") };
    assert_eq!(ask(&store, release("b")).await, Answer::Free);
    let Answer::Granted { token, .. } = ask(&store, renew("a")).await else { panic!() };
    assert_eq!(token, first, "one term has one epoch");

    etcd.restart().await;
    let Answer::Granted { token, .. } = ask(&store, renew("a")).await else { panic!() };
    assert_eq!(token, first);
    assert_eq!(ask(&store, release("a")).await, Answer::Free);
    assert_eq!(ask(&store, release("a")).await, Answer::Free);
    etcd.restart().await;
    let Answer::Granted { token: second, .. } = ask(&store, acquire("b")).await else { panic!() };
    assert!(second > first, "{second} after {first}");
}

#[tokio::test]
async fn whoever_deletes_the_key_ends_the_term() {
    let Some(etcd) = Etcd::start().await else { return };
    let candidate = brief(etcd.store());
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    let first = leads(&leadership).await;
    let delete = ::http::Request::post(format!("http://127.0.0.1:{}/v3/kv/deleterange", etcd.port));
    let delete = delete.body(Full::from(r#"{"key":"am9icw=="}"#)).unwrap();
    assert!(client().request(delete).await.unwrap().status().is_success());
    // The etcd lease lives, and the key by which it holds is gone: that is no renewal.
    let next = async {
        while epoch(&leadership).is_none_or(|epoch| epoch == first) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, next).await.unwrap();
    assert!(leads(&leadership).await > first);
}

// pitfalls B42, B44
#[tokio::test]
async fn etcd_stands_still_for_longer_than_the_term() {
    let Some(etcd) = Etcd::start().await else { return };
    let candidate = brief(etcd.store());
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    let first = leads(&leadership).await;
    let jobs = LeaderLayer::new("jobs", &leadership);
    etcd.signal("-STOP");
    let hung = jobs.run(pending::<Result<(), Error<std::io::Error>>>);
    let hung = timeout(LONG, hung).await.expect("the term ends without a word from etcd");
    assert!(hung.is_err());
    soon(&leadership, State::Following).await;
    let asked_in_vain = async {
        while leadership.last_error().is_none_or(|why| !why.contains("gave no answer to")) {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, asked_in_vain).await.unwrap();
    etcd.signal("-CONT");
    let next = async {
        while leads(&leadership).await == first {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, next).await.unwrap();
}

#[tokio::test]
async fn etcd_stands_still_for_less_than_the_term() {
    let Some(etcd) = Etcd::start().await else { return };
    let ttl = Duration::from_secs(30); // longer than a slow machine needs for all of this
    let candidate = Candidate::builder("jobs", etcd.store()).ttl(ttl).renew(ttl / 30);
    let candidate = candidate.ask_timeout(ttl / 60).build().unwrap();
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    let first = leads(&leadership).await;
    etcd.signal("-STOP");
    let asked_in_vain = async {
        while leadership.last_error().is_none() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, asked_in_vain).await.unwrap();
    assert_eq!(epoch(&leadership), Some(first));
    etcd.signal("-CONT");
    let renewed = async {
        while leadership.last_error().is_some() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, renewed).await.unwrap();
    assert_eq!(epoch(&leadership), Some(first), "one term, without a gap");
}

/// Acts while it is alive: a job may be dropped at the end of its term.
struct Acting<'a>(&'a AtomicBool);

impl Drop for Acting<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn hand_over_under_load_one_acts_at_a_time() {
    let Some(etcd) = Etcd::start().await else { return };
    let is_acting = Arc::new(AtomicBool::new(false));
    let store = etcd.store();
    let mut epochs = Vec::new();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let (is_acting, store) = (Arc::clone(&is_acting), store.clone());
        workers.spawn(async move {
            let mut candidate = brief(store);
            let job = |term: seawall::leader::Term| {
                let is_acting = Arc::clone(&is_acting);
                async move {
                    assert!(!is_acting.swap(true, Ordering::SeqCst), "two act");
                    let acting = Acting(&is_acting);
                    sleep(Duration::from_millis(50)).await;
                    drop(acting);
                    term.epoch()
                }
            };
            candidate.lead(job).await
        });
    }
    while let Some(led) = timeout(LONG, workers.join_next()).await.unwrap() {
        epochs.push(led.unwrap().unwrap());
    }
    assert!(epochs.is_sorted() && epochs.len() == 3, "{epochs:?}");
}

#[tokio::test]
async fn through_the_ready_made_client() {
    let Some(etcd) = Etcd::start().await else { return };
    let stack =
        http::client("etcd").attempt_timeout(Duration::from_millis(300)).cloned().build().unwrap();
    let plain: MapErr<Plain, fn(_) -> _> = MapErr::new(client(), Error::Inner);
    let store =
        EtcdStore::new(format!("http://127.0.0.1:{}", etcd.port), stack.layer(plain)).unwrap();
    let candidate = brief(store);
    let leadership = candidate.leadership();
    tokio::spawn(candidate.campaign());
    soon(&leadership, State::Leading).await;
    leadership.resign().await;
    assert_eq!(leadership.state(), State::Resigned);
    assert_eq!(ask(&etcd.store(), Ask::Look { lease: "jobs".into() }).await, Answer::Free);
}

#[tokio::test]
async fn what_is_no_etcd_is_told_in_a_sentence() {
    let wrong = ["127.0.0.1:2379", "ftp://a:1", "http://a:1/v3", "http://", "no"];
    for endpoint in wrong {
        let wrong = EtcdStore::new(endpoint, client()).unwrap_err();
        let told = wrong.to_string();
        assert!(told.contains("endpoint") && told.contains(endpoint), "{told}");
    }
    let [port, _] = free_ports();
    let nobody = EtcdStore::new(format!("http://127.0.0.1:{port}"), client()).unwrap();
    let told = nobody.oneshot(acquire("a")).await.unwrap_err().to_string();
    assert_eq!(told, format!("etcd at http://127.0.0.1:{port} could not be asked"));

    let says = |status: u16, text: &'static str| {
        let server = tower::service_fn(move |_: ::http::Request<Full<bytes::Bytes>>| async move {
            let answer =
                ::http::Response::builder().status(status).body(Full::<bytes::Bytes>::from(text));
            Ok::<_, BoxError>(answer.unwrap())
        });
        EtcdStore::new("http://10.0.0.7:80", server).unwrap()
    };
    for (status, text, expected) in [
        (404, "404 page not found", "is this etcd's client port?"),
        (400, r#"{"message":"etcdserver: user name is empty","code":3}"#, "authorization"),
        (401, r#"{"message":"etcdserver: invalid auth token","code":16}"#, "authorization"),
        (400, r#"{"error":{"message":"out of tune"}}"#, "out of tune"),
        (503, "busy", "503 Service Unavailable"),
        (200, "<html>hello</html>", "is no etcd"),
        (200, "{}", "is no etcd"),
        (200, "[1,2]", "is no etcd"),
        (200, r#"{"header":{},"result":{},"kvs":[{}]}"#, "is no etcd"),
        (
            200,
            r#"{"header":{},"result":{},"kvs":[{"create_revision":"7","value":"YQ=="}]}"#,
            "delete it",
        ),
        (
            200,
            r#"{"header":{},"result":{"TTL":"18446744073709551615"},"TTL":"18446744073709551615"}"#,
            "",
        ),
    ] {
        for asks in [acquire("a"), renew("a"), Ask::Look { lease: "jobs".into() }] {
            let answer = says(status, text).oneshot(asks.clone()).await;
            match answer {
                Err(error) => {
                    let told = error.to_string();
                    assert!(
                        told.contains(expected) && told.contains("http://10.0.0.7:80"),
                        "{told}"
                    );
                }
                Ok(answer) => assert!(!matches!(answer, Answer::Granted { .. }), "{text} {asks:?}"),
            }
        }
    }
}
