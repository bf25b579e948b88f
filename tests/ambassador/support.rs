//! An ambassador in a process of its own, an upstream to put it in front of, and a caller.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Nothing here takes long; what takes longer than this hangs.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) type Body = BoxBody<Bytes, hyper::Error>;

// ===== the process =====

/// A running ambassador; killed when dropped.
pub(crate) struct Ambassador {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) metrics: String,
    pub(crate) admin: String,
    stderr: mpsc::Receiver<String>,
}

/// What a process left behind.
pub(crate) struct Remains {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

fn command(arguments: &[&str]) -> Command {
    let test = std::env::current_exe().unwrap();
    let built: PathBuf = test.parent().unwrap().parent().unwrap().join("examples/ambassador");
    assert!(built.exists(), "{} is missing: cargo build --example ambassador", built.display());
    let mut command = Command::new(built);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &[&str]) -> Remains {
    let output = command(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Remains { status: output.status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ambassador {
    /// Starts one on a port of the system's choice, and reads from its output which one that is.
    /// Unless told otherwise it is patient: a busy machine is no fault of anybody.
    pub(crate) fn of(upstream: SocketAddr, more: &[&str]) -> Self {
        Self::of_url(&format!("http://{upstream}"), more)
    }

    pub(crate) fn of_url(upstream: &str, more: &[&str]) -> Self {
        Self::start("127.0.0.1:0", upstream, more)
    }

    /// Starts one that listens somewhere else.
    pub(crate) fn on(listen: &str, upstream: &str) -> Self {
        Self::start(listen, upstream, &[])
    }

    fn start(listen: &str, upstream: &str, more: &[&str]) -> Self {
        let arguments = ["--listen", listen, "--upstream", upstream];
        let patient = ["--timeout", "60s", "--deadline", "240s"];
        let patience = if more.contains(&"--timeout") { &[][..] } else { &patient[..] };
        let mut child = command(&[&arguments, patience, more].concat()).spawn().unwrap();
        let stderr = lines(child.stderr.take().unwrap());
        let stdout = lines(child.stdout.take().unwrap());
        let address_in = |line: String| line.rsplit_once("http://").unwrap().1.to_owned();
        let address = address_in(stdout.recv_timeout(SOON).unwrap()).parse().unwrap();
        let metrics = format!("http://{}", address_in(stdout.recv_timeout(SOON).unwrap()));
        let admin = metrics.trim_end_matches("/metrics").to_owned();
        Self { child, address, metrics, admin, stderr }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The value of the one series in its metrics that has all these words in its name and labels.
    pub(crate) async fn metric(&self, words: &[&str]) -> f64 {
        let metrics = get(&self.metrics).await.text;
        let is_it =
            |line: &&str| !line.starts_with('#') && words.iter().all(|word| line.contains(word));
        let lines: Vec<_> = metrics.lines().filter(is_it).collect();
        let [line] = lines[..] else { panic!("{words:?}: {lines:?} in {metrics}") };
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    }

    /// The next line of its log.
    pub(crate) fn says(&self) -> String {
        self.stderr.recv_timeout(SOON).unwrap()
    }

    /// What ctrl-c does.
    pub(crate) fn interrupt(&self) {
        let kill = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// The code it ends with, and the rest of its log.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<String>) {
        let log = self.stderr.iter().collect(); // until it closes its stderr, which is at its end
        (self.child.wait().unwrap().code(), log)
    }
}

/// A show that runs; killed when dropped.
pub(crate) struct Show {
    child: Child,
    stdout: mpsc::Receiver<String>,
}

impl Show {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = command(arguments).stderr(Stdio::null()).spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> String {
        self.child.id().to_string()
    }

    /// Waits for a line with this word.
    pub(crate) fn line_with(&self, word: &str) {
        while !self.stdout.recv_timeout(SOON).unwrap().contains(word) {}
    }

    /// All that it says until its end.
    pub(crate) fn rest(&self) -> String {
        self.stdout.iter().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Show {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

impl Drop for Ambassador {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

fn lines(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line); // nobody may be interested
        }
    });
    lines
}

// ===== the upstream =====

/// A server in this process, of HTTP/1.1 and HTTP/2, and how often it was asked.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl Upstream {
    pub(crate) async fn answering<H, F>(handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap(), handler)
    }

    pub(crate) fn on<H, F>(listener: TcpListener, handler: H) -> Self
    where
        H: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (handler, count) = (handler.clone(), Arc::clone(&count));
                let service = service_fn(move |request| {
                    count.fetch_add(1, Ordering::Relaxed);
                    let response = handler(request);
                    async { Ok::<_, Infallible>(response.await) }
                });
                connections.spawn(async move {
                    let either = auto::Builder::new(TokioExecutor::new());
                    let _ = either.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, asked, _tasks: tasks }
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// An upstream that keeps each call waiting until it is let go.
pub(crate) struct Gate {
    pub(crate) upstream: Upstream,
    arrived: Arc<Semaphore>,
    go_on: Arc<Semaphore>,
}

impl Gate {
    pub(crate) async fn answering(text: &'static str) -> Self {
        let (arrived, go_on) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let gates = (Arc::clone(&arrived), Arc::clone(&go_on));
        let upstream = Upstream::answering(move |_| {
            let (arrived, go_on) = gates.clone();
            async move {
                arrived.add_permits(1);
                go_on.acquire().await.unwrap().forget();
                answer(StatusCode::OK, text)
            }
        });
        Self { upstream: upstream.await, arrived, go_on }
    }

    /// Waits until so many more calls are there.
    pub(crate) async fn arrive(&self, calls: u32) {
        let all = timeout(SOON, self.arrived.acquire_many(calls)).await;
        all.expect("some do not arrive").unwrap().forget();
    }

    pub(crate) fn let_go(&self, calls: usize) {
        self.go_on.add_permits(calls);
    }
}

pub(crate) fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into()).map_err(|never| match never {}).boxed()
}

pub(crate) fn answer(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    Response::builder().status(status).body(full(text)).unwrap()
}

// ===== the caller =====

/// An answer that has arrived.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

pub(crate) async fn ask(request: Request<Body>) -> Answer {
    ask_over(false, request).await
}

/// A client that speaks nothing else.
pub(crate) fn client_of_http2<B>() -> Client<HttpConnector, B>
where
    B: hyper::body::Body<Data: Send> + Send,
{
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

/// A caller by hand, who has said this.
pub(crate) fn say(address: SocketAddr, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut caller = TcpStream::connect(address).unwrap();
    caller.set_read_timeout(Some(SOON)).unwrap();
    let _ = caller.write_all(bytes.as_ref()); // it may not be heard to its end
    caller
}

/// The version and the status of the answer to it.
pub(crate) fn status_heard(caller: &mut TcpStream) -> String {
    let mut status = [0; 12];
    caller.read_exact(&mut status).unwrap();
    String::from_utf8(status.to_vec()).unwrap()
}

/// Asks over HTTP/2, if so told.
pub(crate) async fn ask_over(http2: bool, mut request: Request<Body>) -> Answer {
    if http2 {
        *request.version_mut() = Version::HTTP_2;
    }
    let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or_default();
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    Answer { status: head.status, headers: head.headers, text, trailers }
}

/// A request that is never repeated.
pub(crate) async fn post(url: &str) -> Answer {
    ask(Request::post(url).body(full("")).unwrap()).await
}

/// Asks until an answer is as it should be, with a pause that lets a break or a check go by.
pub(crate) async fn ask_until(url: &str, is_right: impl Fn(&Answer) -> bool) -> Answer {
    let patiently = async {
        loop {
            let answer = get(url).await;
            if is_right(&answer) {
                return answer;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(SOON, patiently).await.expect("no such answer")
}

pub(crate) async fn get(url: &str) -> Answer {
    ask(Request::get(url).body(full("")).unwrap()).await
}
