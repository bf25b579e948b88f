//! Orders of many tenants, spread over databases: a fourth database joins while orders come in.
//!
//! `cargo run --example sharded --features shards`

use std::convert::Infallible;
use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seawall::shards::{Key, Map, Member, Shards};
use seawall::{Error, stack};
use tower::{Layer, Service, ServiceExt, service_fn};

#[derive(Clone)]
struct Order {
    tenant: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let written = Arc::new(AtomicU32::new(0));
    let all = Arc::clone(&written);
    let orders = Shards::builder("orders")
        .key(|order: &Order| Key::from(&order.tenant))
        .map(Map::hashed(1, ["db-0", "db-1", "db-2"])?)
        .over(move |member: &Member| {
            let all = Arc::clone(&all);
            // Connect to the member's address here.
            let database = service_fn(move |_: Order| {
                let all = Arc::clone(&all);
                async move {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    all.fetch_add(1, Ordering::Relaxed);
                    Ok::<_, Error<Infallible>>(())
                }
            });
            // A breaker, a limit and retries for each database.
            Ok(stack::client(member.name()).cloned().build()?.layer(database))
        })?;

    let handle = orders.handle();
    let shop = tokio::spawn(async move {
        let mut orders = orders;
        for nth in 0..400 {
            let order = Order { tenant: format!("tenant-{}", nth % 100) };
            orders.ready().await?.call(order).await?;
        }
        Ok::<_, Error<Infallible>>(())
    });

    tokio::time::sleep(Duration::from_millis(200)).await;
    let (before, four) = (handle.map(), Map::hashed(2, ["db-0", "db-1", "db-2", "db-3"])?);
    println!(
        "a fourth database joins: {:.0} % of the tenants move",
        100.0 * before.moved_to(&four)
    );
    handle.adopt(four)?;
    handle.settled(before.epoch()).await;
    println!("nobody goes by the old map any more");

    shop.await??;
    let written = written.load(Ordering::Relaxed);
    println!("400 orders came, {written} were written");
    assert_eq!(written, 400, "no order is lost, and none is written twice");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
