//! Orders, and three who want to know of them: one who must not miss any, one who may, and one who wants the latest only.

use std::error::Error;
use std::time::Duration;

use futures::StreamExt;
use seawall::bus::{Bus, Closed, Delivery, Envelope, Subscribe, Subscription, WhenSlow};
use tower::{Service, ServiceExt};

const ORDERS: u32 = 1_000;

#[derive(Debug)]
struct Paid {
    order: u32,
    cents: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let bus = Bus::builder("orders").capacity(64).build()?;
    let patient = WhenSlow::Hold(Duration::from_secs(5)); // publishers wait for it so long
    let billing = bus.subscribe(Subscribe::new("billing").when_slow(patient));
    let europe = bus.subscribe(Subscribe::new("europe").topics("paid.eu"));
    let latest = bus.subscribe(Subscribe::new("latest").when_slow(WhenSlow::Latest));

    let billing = tokio::spawn(count(billing, Duration::ZERO));
    let europe = tokio::spawn(count(europe, Duration::from_millis(20))); // it is slow

    let mut publisher = bus.publisher();
    for order in 0..ORDERS {
        let topic = if order % 2 == 0 { "paid.eu" } else { "paid.us" };
        let paid = Envelope::new(Paid { order, cents: 5 }).topic(topic);
        publisher.ready().await?.call(paid).await?;
    }
    bus.close();

    let (received, lost, cents) = billing.await?;
    println!("billing: {received} orders of {cents} cents, {lost} lost");
    assert_eq!((received, lost, cents), (u64::from(ORDERS), 0, 5 * u64::from(ORDERS)));

    let (received, lost, _) = europe.await?;
    println!("europe:  {received} orders, and it knows that it has lost {lost} of all");
    assert!(received > 0 && lost > 0);

    let newest = latest.filter_map(|delivery| async move {
        let Delivery::Event(event) = delivery else { return None };
        Some((event.envelope.topic.clone(), event.event().order))
    });
    let newest: Vec<_> = newest.collect().await;
    println!("latest:  {newest:?}");
    assert_eq!(newest, [("paid.eu".into(), ORDERS - 2), ("paid.us".into(), ORDERS - 1)]);
    Ok(())
}

/// How many were received, how many lost, and how much was paid.
async fn count(mut events: Subscription<Paid>, pause: Duration) -> (u64, u64, u64) {
    let (mut received, mut lost, mut cents) = (0, 0, 0);
    while let Some(delivery) = events.next().await {
        match delivery {
            Delivery::Event(paid) => {
                received += 1;
                cents += paid.event().cents;
                tokio::time::sleep(pause).await;
            }
            Delivery::Gap { from, to } => lost += to - from + 1,
            Delivery::Closed(why) => assert_eq!(why, Closed::Bus),
        }
    }
    (received, lost, cents)
}

#[test]
fn shows_what_it_says() {
    main().unwrap();
}
