//! Every interleaving of a publisher and a subscriber.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use ::loom::future::block_on;
use ::loom::thread;

use crate::bus::engine::{Sent, Shared};
use crate::bus::envelope::Envelope;
use crate::bus::machine::{Closed, Taken, WhenSlow};
use crate::shell::tests::loom::check;

async fn next(shared: &Shared<u32>, reader: usize) -> Taken<Arc<Envelope<u32>>> {
    std::future::poll_fn(|cx| match shared.take(reader, cx.waker()).0 {
        Taken::Nothing => Poll::Pending,
        taken => Poll::Ready(taken),
    })
    .await
}

#[test]
fn a_subscriber_that_waits_is_woken_by_each_event_and_by_the_end() {
    check(|| {
        let shared = Arc::new(Shared::new(1));
        let reader = shared.subscribe(WhenSlow::Lose);
        let theirs = Arc::clone(&shared);
        let publisher = thread::spawn(move || {
            assert!(matches!(theirs.publish(Arc::new(Envelope::new(7)), None, None), Sent::Done));
            theirs.close();
        });
        block_on(async {
            assert!(matches!(next(&shared, reader).await, Taken::Event { number: 1, .. }));
            assert!(matches!(next(&shared, reader).await, Taken::Closed(Closed::Bus)));
        });
        publisher.join().unwrap();
    });
}

#[test]
fn a_publisher_that_is_held_up_is_woken_when_the_subscriber_reads() {
    check(|| {
        let shared = Arc::new(Shared::new(1));
        let reader = shared.subscribe(WhenSlow::Hold(std::time::Duration::from_secs(1)));
        let theirs = Arc::clone(&shared);
        let publisher = thread::spawn(move || {
            for n in 0..2 {
                let mut event = Some((Arc::new(Envelope::new(n)), None));
                let done = std::future::poll_fn(|cx| {
                    let Some((envelope, ticket)) = event.take() else { return Poll::Pending };
                    match theirs.publish(envelope, ticket, Some(cx.waker())) {
                        Sent::Held(held) => {
                            event = Some((held.event, Some(held.ticket)));
                            Poll::Pending
                        }
                        _ => Poll::Ready(()),
                    }
                });
                block_on(pin!(done));
            }
        });
        block_on(async {
            for expected in 1..=2 {
                let Taken::Event { number, .. } = next(&shared, reader).await else { panic!() };
                assert_eq!(number, expected);
            }
        });
        publisher.join().unwrap();
    });
}
