//! Orders of many tenants, spread over databases: a fourth database joins while orders come in.
//!
//! `cargo run --example sharded --features shards`

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seawall::shards::{Key, Map, Member, Shards};
use seawall::{Error, stack};
use tower::{Layer, Service, ServiceExt, service_fn};

#[derive(Clone)]
struct Order {
    tenant: String,
}

/// The orders that each database has written.
type Written = Arc<Mutex<BTreeMap<String, u32>>>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn StdError>> {
    let written = Written::default();
    let databases = Arc::clone(&written);
    let orders = Shards::builder("orders")
        .key(|order: &Order| Key::from(&order.tenant))
        .map(Map::hashed(1, ["db-0", "db-1", "db-2"])?)
        .over(move |member: &Member| {
            let (name, databases) = (member.name().to_owned(), Arc::clone(&databases));
            // Connect to the member's address here.
            let database = service_fn(move |_: Order| {
                let (name, databases) = (name.clone(), Arc::clone(&databases));
                async move {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    *databases.lock().expect("nobody panics").entry(name).or_default() += 1;
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
    let written = written.lock().expect("nobody panics");
    println!("written: {written:?}");
    assert_eq!(written.values().sum::<u32>(), 400, "no order is lost, and none is written twice");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
