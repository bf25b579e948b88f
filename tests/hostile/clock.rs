//! Time that stands until the server has got as far as it ever will.

use std::sync::mpsc;
use std::time::Duration;

use crate::calls::SHORT;
use crate::server::Server;

/// After so much real time the clock runs by itself again, so that what hangs comes to an end.
const PATIENCE: Duration = Duration::from_secs(60);

/// Timers go off at the next whole millisecond.
const TICK: Duration = Duration::from_millis(1);

/// The clock of this runtime, stopped.
struct Stopped {
    _until_dropped: mpsc::Sender<()>,
}

impl Stopped {
    fn now() -> Self {
        tokio::time::pause();
        let (sender, dropped) = mpsc::channel::<()>();
        // A paused clock moves on when nothing else does, though a socket may have something to say.
        // It does not while there is a task that blocks.
        tokio::task::spawn_blocking(move || dropped.recv_timeout(PATIENCE));
        Self { _until_dropped: sender }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}

/// A call, or several at a time, that the server leaves without an answer. The time of an attempt is
/// over each time that so many more have come to where the server is silent: no sooner, however busy
/// the machine is, and no later.
pub(crate) async fn given_up<T>(
    server: &Server,
    at_a_time: usize,
    calls: impl Future<Output = T>,
) -> T {
    let _clock = Stopped::now();
    let before = server.books().silent;
    let time = async {
        for nth in 1.. {
            let silent = before + nth * at_a_time;
            server.until("silent", |books| books.silent >= silent).await;
            tokio::time::advance(SHORT + TICK).await;
        }
    };
    tokio::select! {
        biased;
        done = calls => done,
        () = time => unreachable!("time does not end"),
    }
}
