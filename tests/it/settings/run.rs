//! A plain call through the whole stack.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use seawall::circuit_breaker::{self, State, Trip};
use seawall::retry::{self, Backoff};
use seawall::stack::{self, ClientConfig};
use seawall::{Error, Reason, bulkhead};
use tokio::time::sleep;

use super::ms;
use crate::scene::now;
use crate::support::{Broken, Fail};

fn quick() -> ClientConfig {
    let retry = retry::Config { backoff: Backoff::none(), ..ClientConfig::default().retry };
    ClientConfig { retry, ..ClientConfig::default() }
}

#[tokio::test(start_paused = true)]
async fn all_five_policies_are_around_a_plain_call() {
    // Retried, by a closure that counts for itself.
    let client = stack::client("x").config(quick()).cloned().build().unwrap();
    let mut attempts = 0;
    let answer = client.run(|| {
        attempts += 1;
        let nth = attempts;
        async move { if nth < 3 { Err(Error::Inner(Broken)) } else { Ok(nth) } }
    });
    assert_eq!(answer.await, Ok(3));
    assert_eq!((attempts, client.in_flight()), (3, 0));

    // Each attempt is timed, and so is the whole.
    let config = ClientConfig { deadline: ms(1000), attempt_timeout: ms(300), ..quick() };
    let client = stack::client("x").config(config).cloned().build().unwrap();
    let began = now();
    let mut attempts = 0;
    let hang = client.run(|| {
        attempts += 1;
        std::future::pending::<Result<(), Fail>>()
    });
    let ended = hang.await.unwrap_err();
    assert!(matches!(ended, Error::Rejected(why) if why.reason() == Reason::TimedOut));
    assert!(began.elapsed() <= ms(1000) && attempts > 1, "{attempts} in {:?}", began.elapsed());

    // The breaker learns of it, and rejects; the retry does not go on against an open circuit.
    let breaker = circuit_breaker::Config { trip: Trip::consecutive(2), ..Default::default() };
    let config = ClientConfig { breaker, ..quick() };
    let client = stack::client("x").config(config).cloned().build().unwrap();
    let mut attempts = 0;
    let failed: Result<(), Fail> = client
        .run(|| {
            attempts += 1;
            async { Err(Error::Inner(Broken)) }
        })
        .await;
    assert!(failed.is_err());
    assert_eq!((attempts, client.breaker().state()), (2, State::Open));

    // There are so many places.
    let one = bulkhead::Config { limit: 1, ..Default::default() };
    let client = stack::client("x").config(ClientConfig { bulkhead: one, ..quick() });
    let client = client.cloned().build().unwrap();
    let inside = Arc::new(AtomicU32::new(0));
    let call = || {
        let inside = Arc::clone(&inside);
        client.run(move || {
            let inside = Arc::clone(&inside);
            async move {
                assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                sleep(ms(10)).await;
                inside.fetch_sub(1, Ordering::Relaxed);
                Ok::<_, Fail>(())
            }
        })
    };
    let (first, second) = tokio::join!(call(), call());
    assert!(first.is_ok() || second.is_ok());
}

#[tokio::test(start_paused = true)]
async fn dropped_it_drops_the_attempt_and_is_not_made_again() {
    struct Gone(Arc<AtomicU32>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let client = stack::client("x").config(quick()).cloned().build().unwrap();
    let (begun, gone) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let call = client.run(|| {
        begun.fetch_add(1, Ordering::Relaxed);
        let gone = Gone(Arc::clone(&gone));
        async move {
            let _gone = gone;
            std::future::pending::<Result<(), Fail>>().await
        }
    });
    assert!(tokio::time::timeout(ms(5), call).await.is_err());
    assert_eq!((begun.load(Ordering::Relaxed), gone.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(client.in_flight(), 0);
    client.drain().await;
    let rejected = client.run(|| async { Ok::<_, Fail>(()) }).await.unwrap_err();
    assert!(matches!(rejected, Error::Rejected(why) if why.reason() == Reason::Draining));
}

#[tokio::test(start_paused = true)]
async fn it_can_be_spawned_and_outlives_the_layer() {
    let call = {
        let client = stack::client("x").cloned().build().unwrap();
        client.run(|| async {
            sleep(Duration::from_millis(1)).await;
            Ok::<_, Fail>(7)
        })
    };
    assert_eq!(tokio::spawn(call).await.unwrap(), Ok(7));
}
