//! Orders as events: commands decide, a projection lists, the past stays.
//!
//! `cargo run --example event_log --features log`

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;

use seawall::log::{CommandError, Commands, Decide, MemoryLog, Projection, Recorded};
use tower::{BoxError, Service, ServiceExt};

struct Stock;

enum Command {
    Receive(&'static str, u32),
    Ship(&'static str, u32),
}

#[derive(Debug, PartialEq)]
enum Event {
    Received(u32),
    Shipped(u32),
}

impl Decide for Stock {
    type State = u32;
    type Command = Command;
    type Event = Event;
    type Error = String;

    fn decide(left: &u32, command: &Command) -> Result<Vec<Event>, String> {
        match *command {
            Command::Receive(_, items) => Ok(vec![Event::Received(items)]),
            Command::Ship(_, items) if items > *left => Err(format!("only {left} left")),
            Command::Ship(_, items) => Ok(vec![Event::Shipped(items)]),
        }
    }

    fn evolve(left: u32, event: &Event) -> u32 {
        match *event {
            Event::Received(items) => left + items,
            Event::Shipped(items) => left - items,
        }
    }
}

async fn run() -> Result<(), BoxError> {
    let log = MemoryLog::new();
    let mut stock = Commands::<Stock, _>::builder("stock", log.clone())
        .stream(|command| match command {
            Command::Receive(item, _) | Command::Ship(item, _) => *item,
        })
        .build()?;
    let received = stock.ready().await?.call(Command::Receive("lamp", 10)).await?;

    // Twenty customers want a lamp at the same time.
    let customers = (0..20).map(|_| stock.clone().oneshot(Command::Ship("lamp", 1)));
    let answers = futures::future::join_all(customers).await;
    let shipped = answers.iter().filter(|answer| answer.is_ok()).count();
    let declined = |answer: &&Result<_, _>| matches!(answer, Err(CommandError::Declined(_)));
    println!("{shipped} lamps shipped, {} declined", answers.iter().filter(declined).count());
    assert_eq!(shipped, 10);

    // A read model: how many of each item were ever shipped.
    let mut sold = BTreeMap::new();
    let count = |recorded: Recorded<Event>| {
        if let Event::Shipped(items) = *recorded.event {
            *sold.entry(recorded.stream).or_insert(0) += items;
        }
        ready(Ok::<_, Infallible>(()))
    };
    let end = Projection::builder("sold", log).build()?.catch_up(count).await?;
    println!("sold: {sold:?}, as of {end}");
    assert_eq!(sold["lamp"], 10);

    let (before, _) = stock.at("lamp", received.position).await?;
    println!("before the first customer there were {before}");
    assert_eq!((before, stock.state("lamp").await?.0), (10, 0));
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    run().await
}

#[test]
fn it_shows_what_it_says() {
    main().unwrap();
}
