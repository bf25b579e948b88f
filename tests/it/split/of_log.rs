//! Commands over a log on the one side, a projection of it on the other.

use std::sync::{Arc, Mutex};

use seawall::log::{CommandError, Commands, LogError, MemoryLog, Projection, Recorded};
use seawall::split::{Freshness, Member, Session, Side, Split};
use seawall::{Error, Position};
use tower::{BoxError, Service, ServiceExt, service_fn};

use crate::log::{Command, Counter, Event};

enum Req {
    Change(Session, Command),
    Sum(Session),
}

type Fail = Error<CommandError<&'static str, LogError>>;

/// Read your writes over an event-sourced model: the projection is a replica.
#[tokio::test(start_paused = true)]
async fn a_projection_is_a_replica_of_the_commands() {
    let log = MemoryLog::new();
    let commands = Commands::<Counter, _>::builder("counters", log.clone())
        .stream(|(name, _): &(&'static str, Command)| *name)
        .build()
        .unwrap();
    let sum = Arc::new(Mutex::new(0_u64));
    let mut list = Projection::builder("sum", log.clone()).build().unwrap();
    let (handle, table) = (list.handle(), Arc::clone(&sum));
    let counters = Split::builder("counters")
        .side(|req: &Req| match req {
            Req::Change(..) => Side::Command,
            Req::Sum(_) => Side::Query(Freshness::Seen),
        })
        .session(|(Req::Change(session, _) | Req::Sum(session))| Some(session))
        .position(|(_, position): &(u64, Option<Position>)| *position)
        .positions(service_fn(move |member: Member| {
            let list = handle.position().ok_or("nothing was read yet");
            let position = if member.is_primary() { Ok(log.end()) } else { list };
            async move { position.map_err(BoxError::from) }
        }))
        .primary("log", move |_| {
            let commands = commands.clone();
            Ok(service_fn(move |req: Req| {
                let commands = commands.clone();
                async move {
                    let Req::Change(_, command) = req else { unreachable!() };
                    let decided = commands.oneshot(("a", command)).await.map_err(Fail::Inner)?;
                    Ok((decided.version, Some(decided.position)))
                }
            }))
        })
        .replicas(["sum"])
        .spill(0)
        .over(move |_| {
            let sum = Arc::clone(&sum);
            Ok(service_fn(move |_: Req| {
                let sum = *sum.lock().unwrap();
                async move { Ok::<_, Fail>((sum, None)) }
            }))
        })
        .unwrap();
    tokio::spawn(async move {
        let apply = async |recorded: Recorded<Event>| {
            // Slower than any reader would like, and faster than their patience.
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            *table.lock().unwrap() += u64::from(*recorded.event == Event::Added(1));
            Ok::<_, BoxError>(())
        };
        list.run(apply).await
    });
    let user = Session::new();
    let mut counters = counters;
    for nth in 1..=20 {
        let add = Req::Change(user.clone(), Command::Add(1));
        counters.ready().await.unwrap().call(add).await.unwrap();
        let (sum, _) = counters.ready().await.unwrap().call(Req::Sum(user.clone())).await.unwrap();
        assert_eq!(sum, nth);
    }
}
