//! The show: the same load at the same time on two identical upstreams, which follow the same
//! script. One is asked straight, the other through an ambassador.
//!
//! | file | holds |
//! | --- | --- |
//! | `script.rs` | what befalls the upstreams, and when |
//! | `upstream.rs` | a real HTTP server with few workers, a queue, and bad days |
//! | `load.rs` | callers who do not wait for one another |
//! | `tally.rs` | what became of the calls |
//! | `layers.rs` | what the layers did meanwhile |
//! | `rooms.rs` | a runtime for each who takes part, and whether the machine gave them the time |
//! | `live.rs` | the table while it runs |
//! | `summary.rs` | the tables at the end, and the show in three numbers |

mod layers;
mod live;
mod load;
mod rooms;
mod script;
mod summary;
mod tally;
mod upstream;

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use seawall::Event;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::layers::Layers;
use self::live::Live;
use self::load::Caller;
use self::rooms::{Punctuality, Room};
use self::script::{Script, Tempo};
use self::tally::Tally;
use self::upstream::Upstream;
use crate::check::Check;
use crate::proxy::{self, Proxy};
use crate::signals::Stops;
use crate::stack::{self, Gauges, Manners, Settings};
use crate::{address, admin, listen};

/// How long the ambassador waits for the upstream: several times what it takes on a good day, and
/// a fraction of the callers' patience.
const TIMEOUT: Duration = Duration::from_millis(300);
/// A little less than the callers' patience, so that they are told.
const DEADLINE: Duration = Duration::from_millis(950);
/// How often the ambassador asks the upstream how it is, and how long it waits for that.
const CHECK_EVERY: Duration = Duration::from_millis(100);
const CHECK_TIMEOUT: Duration = Duration::from_millis(150);
/// A port of the system's choice.
const ANYWHERE: &str = "127.0.0.1:0";

/// One way to the upstream, and what came of it.
pub(crate) struct Way {
    name: &'static str,
    upstream: Upstream,
    tally: Arc<Tally>,
    /// What there is to see of the layers, if there are any.
    layers: Option<(Gauges, Arc<Layers>)>,
}

/// Plays the script once, or until ctrl-c, and sums up.
///
/// The ambassador lets `limit` calls at a time through, in a show that is not in fast motion; by
/// default as many as the upstream has workers.
pub(crate) async fn run(seconds: f64, limit: Option<u32>) -> Result<(), String> {
    let mut stops = Stops::listen()?;
    let script = Script::over(Duration::from_secs_f64(seconds));
    let tempo = script.tempo();
    let mut tasks = JoinSet::new(); // ends with this function
    let [here, there] = [Room::new("straight")?, Room::new("shielded")?];
    let [ambassador, crowd] = [Room::new("ambassador")?, Room::new("callers")?];

    let recorder = admin::record()?;
    let metrics = listen(ANYWHERE, "address").await?;
    let metrics_at = address(&metrics)?;
    let start_in = |room: &Room| {
        let _inside = room.enter();
        Upstream::start(&script)
    };
    let (straight, shielded) = (start_in(&here)?, start_in(&there)?);
    let front = ambassador.run(listen(ANYWHERE, "address")).await.ok_or("no ambassador")??;
    let front_at = address(&front)?;
    let start = now();
    let layers = Arc::new(Layers::from(start));
    let limit = tempo.hands(limit.unwrap_or(upstream::WORKERS));
    let gauges = {
        let _inside = ambassador.enter();
        front_up(&mut tasks, front, shielded.address(), limit, tempo, &layers)?
    };
    tasks.spawn(admin::serve(metrics, recorder, gauges.registry()));

    let callers = [Caller::of(straight.address(), tempo)?, Caller::of(front_at, tempo)?];
    let ways = [
        Way { name: "straight", upstream: straight, tally: callers[0].tally(), layers: None },
        Way {
            name: "ambassador",
            upstream: shielded,
            tally: callers[1].tally(),
            layers: Some((gauges.clone(), Arc::clone(&layers))),
        },
    ];

    let (patience, fast) = (callers[0].patience(), ways[0].tally.fast());
    let stages = script.stages().to_vec();
    let punctuality = Punctuality::at(tempo);
    let load = crowd.run(load::put_on(callers, start, script.duration()));
    let looks = crowd.run(punctuality.clone().keep_looking());
    let show = async {
        let mut live = Live::on_stdout(&stages, patience, fast, metrics_at)?;
        tokio::select! {
            _ = async { tokio::join!(script.play(start), load) } => {}
            () = stops.next() => {}
            () = layers.keep_looking(&gauges) => {}
            _ = looks => {}
            broken = live.keep_drawing(start, &ways) => return broken,
        }
        drop(live); // gives the terminal back
        summary::print(&ways, &stages, patience, now() - start, punctuality.complaint())
    };
    match show.await {
        // Whoever reads has read enough.
        Err(why) if why.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        shown => shown.map_err(|why| format!("cannot write: {why}")),
    }
}

/// Puts up an ambassador of the upstream at `address`.
fn front_up(
    tasks: &mut JoinSet<()>,
    listener: TcpListener,
    address: SocketAddr,
    limit: u32,
    tempo: Tempo,
    layers: &Arc<Layers>,
) -> Result<Gauges, String> {
    let upstream = proxy::Upstream::from(address);
    let health = format!("{upstream}{}", upstream::HEALTH);
    let deadline = tempo.time(DEADLINE);
    let settings = Settings {
        name: "demo".to_owned(),
        deadline,
        timeout: tempo.time(TIMEOUT),
        limit,
        check: Check {
            upstream: upstream.clone(),
            target: Some(health.parse().map_err(|why| format!("{health}: {why}"))?),
            http2: false,
            every: tempo.time(CHECK_EVERY),
            timeout: tempo.time(CHECK_TIMEOUT),
        },
        manners: Manners::default(),
    };
    let diary = Arc::clone(layers);
    let (stack, gauges) = stack::build(settings, |_: &Event| {}, move || diary.attempt())
        .map_err(|problem| problem.to_string())?;
    let proxy = Proxy::new(stack, upstream, deadline);
    tasks.spawn(async move {
        proxy.serve(listener, pending()).await;
    });
    Ok(gauges)
}

#[expect(clippy::disallowed_methods, reason = "the one clock of the show; no layer reads it")]
fn now() -> Instant {
    Instant::now()
}
