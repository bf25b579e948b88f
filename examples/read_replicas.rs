//! A shop with a primary and two replicas that lag: every user sees what he has written.
//!
//! `cargo run --example read_replicas --features split`

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use seawall::split::{Freshness, Member, Session, Side, Split};
use seawall::{Error, Position};
use tower::{BoxError, Service, ServiceExt, service_fn};

/// How many orders each server has. A real one is a database behind a `stack::client`.
static ORDERS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];
const NAMES: [&str; 3] = ["primary", "near", "far"];

enum Request {
    Place(Session),
    Count(Session),
}

fn index(name: &str) -> Result<usize, BoxError> {
    NAMES.iter().position(|one| *one == name).ok_or_else(|| "no such server".into())
}

fn serve(server: usize, request: &Request) -> (&'static str, u64) {
    let placed = u64::from(matches!(request, Request::Place(_)));
    (NAMES[server], ORDERS[server].fetch_add(placed, Relaxed) + placed)
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let connect = |name: &str| {
        let server = index(name)?;
        Ok(service_fn(move |request: Request| async move {
            Ok::<_, Error<Infallible>>(serve(server, &request))
        }))
    };
    let mut shop = Split::builder("shop")
        .side(|request: &Request| match request {
            Request::Place(_) => Side::Command,
            Request::Count(_) => Side::Query(Freshness::Seen),
        })
        .session(|(Request::Place(session) | Request::Count(session))| Some(session))
        .positions(service_fn(|member: Member| async move {
            let server = index(member.name())?; // of PostgreSQL: `position_of_replica`
            Ok::<_, BoxError>(Position { era: 1, at: ORDERS[server].load(Relaxed) })
        }))
        .primary("primary", connect)
        .replicas(["near", "far"])
        .over(connect)?;

    // `near` follows after 10 ms, `far` never.
    let replication = tokio::spawn(async {
        loop {
            let orders = ORDERS[0].load(Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
            ORDERS[1].store(orders, Relaxed);
        }
    });
    let (user, mut near) = (Session::new(), 0);
    for nth in 1..=20 {
        shop.ready().await?.call(Request::Place(user.clone())).await?;
        let (by, orders) = shop.ready().await?.call(Request::Count(user.clone())).await?;
        assert_eq!(orders, nth, "a user sees what he has written");
        near += u32::from(by == "near");
    }
    replication.abort();
    println!("each of 20 orders was seen at once by its user, {near} of them on a replica");
    Ok(())
}

#[test]
fn it_shows_what_it_says() {
    main().unwrap();
}
