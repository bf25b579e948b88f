//! A server that follows a script, byte for byte, and keeps books on its connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// What a server does next on a connection. After the last act it closes.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Reads a whole request.
    Read,
    /// Reads whatever comes first.
    ReadSome,
    Say(Bytes),
    /// Says it a byte at a time.
    Trickle(Bytes),
    /// Says it until nobody listens.
    Forever(Bytes),
    /// Says nothing until the client goes away.
    Hang,
    /// Ends the connection with an RST.
    Reset,
    /// Begins anew, on the same connection.
    Retryable,
}

pub(crate) fn say(text: impl Into<String>) -> Act {
    Act::Say(Bytes::from(text.into()))
}

/// What came of the connections.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Books {
    pub(crate) accepted: usize,
    /// Not closed by the client, whatever the server did.
    pub(crate) open: usize,
    pub(crate) most_open: usize,
    /// Requests that were read whole.
    pub(crate) requests: usize,
    /// Times that the server has said the last of what it has to say, and there will be no answer.
    pub(crate) silent: usize,
}

/// Lives until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    books: watch::Receiver<Books>,
    _tasks: JoinSet<()>,
}

impl Server {
    /// The first connection goes by the first script, and so on; all further ones by the last.
    pub(crate) async fn start(scripts: Vec<Vec<Act>>) -> Self {
        Self::with(move |nth, socket, books| {
            let script = scripts[nth.min(scripts.len() - 1)].clone();
            play(socket, script, books)
        })
        .await
    }

    /// Connections are served by `serve`, which is told how many there were before.
    pub(crate) async fn with<F>(
        serve: impl Fn(usize, TcpStream, MockHandle) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (handle, books) = watch::channel(Books::default());
        let handle = Arc::new(handle);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            let mut nth = 0;
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let (socket, _) = accepted.unwrap();
                        socket.set_nodelay(true).unwrap();
                        connections.spawn(serve(nth, socket, MockHandle::open(&handle)));
                        nth += 1;
                    }
                    Some(_) = connections.join_next() => {} // what ended takes memory until then
                }
            }
        });
        Self { address, books, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    pub(crate) fn books(&self) -> Books {
        *self.books.borrow()
    }

    /// Waits until the books say so. If they do not within a minute, it hangs.
    pub(crate) async fn until(&self, what: &str, when: impl FnMut(&Books) -> bool) {
        let mut books = self.books.clone();
        let came = timeout(Duration::from_secs(60), books.wait_for(when)).await;
        assert!(came.is_ok(), "{what}: never became true of {:?}", self.books());
    }
}

/// Notes one connection in the books, until it is dropped.
#[derive(Debug)]
pub(crate) struct MockHandle(Arc<watch::Sender<Books>>);

impl MockHandle {
    fn open(books: &Arc<watch::Sender<Books>>) -> Self {
        books.send_modify(|books| {
            books.accepted += 1;
            books.open += 1;
            books.most_open = books.most_open.max(books.open);
        });
        Self(Arc::clone(books))
    }

    pub(crate) fn request(&self) {
        self.0.send_modify(|books| books.requests += 1);
    }

    pub(crate) fn silent(&self) {
        self.0.send_modify(|books| books.silent += 1);
    }
}

impl Drop for MockHandle {
    fn drop(&mut self) {
        self.0.send_modify(|books| books.open -= 1);
    }
}

async fn play(mut socket: TcpStream, script: Vec<Act>, handle: MockHandle) {
    let mut buffer = Vec::new();
    loop {
        match follow(&mut socket, &script, &handle, &mut buffer).await {
            Some(Act::Retryable) => {}
            Some(Act::Reset) => {
                let _ = socket.set_zero_linger();
                return;
            }
            _ => break,
        }
    }
    // Whoever closes waits for the other side to do the same, to see whether it does.
    let _ = socket.shutdown().await;
    hear_out(&mut socket).await;
}

/// Returns the act that ended the script, `None` if the client went away or there was no more to do.
async fn follow(
    socket: &mut TcpStream,
    script: &[Act],
    handle: &MockHandle,
    buffer: &mut Vec<u8>,
) -> Option<Act> {
    for act in script {
        match act {
            Act::Read => {
                request(socket, buffer).await?;
                handle.request();
            }
            Act::ReadSome => {
                socket.read_buf(buffer).await.ok().filter(|read| *read > 0)?;
            }
            Act::Say(text) => socket.write_all(text).await.ok()?,
            Act::Trickle(text) => {
                for byte in text {
                    socket.write_all(&[*byte]).await.ok()?;
                    tokio::task::yield_now().await;
                }
            }
            Act::Forever(text) => {
                handle.silent();
                loop {
                    socket.write_all(text).await.ok()?;
                }
            }
            Act::Hang => {
                handle.silent();
                hear_out(socket).await;
                return None;
            }
            Act::Reset | Act::Retryable => return Some(act.clone()),
        }
    }
    None
}

pub(crate) async fn hear_out(socket: &mut TcpStream) {
    let mut waste = [0; 4096];
    while matches!(socket.read(&mut waste).await, Ok(1..)) {}
}

/// Reads a request whose body has a length.
pub(crate) async fn request(socket: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        socket.read_buf(buffer).await.ok().filter(|read| *read > 0)?;
    };
    let head = String::from_utf8_lossy(&buffer[..end]).to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let whole = end + length.map_or(0, |length| length.trim().parse().unwrap());
    while buffer.len() < whole {
        socket.read_buf(buffer).await.ok().filter(|read| *read > 0)?;
    }
    buffer.drain(..whole);
    Some(())
}
