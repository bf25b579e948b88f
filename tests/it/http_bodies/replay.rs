use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame};
use http_body_util::Full;
use http_body_util::channel::Channel;
use proptest::prelude::*;
use seawall::http::{Replay, ReplayBody, ReplayError};
use seawall::retry::CloneRequest;
use tower::BoxError;

use super::{Script, Step, data, next, read, read_some, trailers};
use crate::support::{Broken, CountingWaker, caught};

fn over_cap(error: Option<BoxError>) -> bool {
    error.is_some_and(|e| matches!(e.downcast_ref(), Some(ReplayError::OverCap)))
}

fn exact(body: &impl Body) -> Option<u64> {
    body.size_hint().exact()
}

// pitfall B15
#[test]
fn every_clone_gets_the_same_frames_and_the_very_same_bytes() {
    let text = Bytes::from("0123456789".repeat(100));
    let sent = [Step::Data(text.clone()), Step::Trailers(trailers())];
    let mut first = ReplayBody::new(Script::of(sent.clone()), 1000);
    let mut second = first.try_clone().unwrap();
    let mut third = second.try_clone().unwrap();
    for body in [&mut first, &mut second, &mut third] {
        let (got, error) = read(body);
        assert!(error.is_none());
        assert_eq!(got, sent);
        let Step::Data(got) = &got[0] else { panic!("{got:?}") };
        assert_eq!(got.as_ptr(), text.as_ptr(), "copied");
    }
    assert!(matches!(next(&mut first), Poll::Ready(None)), "an end is an end");
}

#[test]
fn a_clone_replays_what_was_read_and_goes_on_with_the_rest() {
    for read_before in 0..=3 {
        let steps = [data("one"), data("two"), Step::Trailers(trailers())];
        let mut first = ReplayBody::new(Script::of(steps.clone()), 1000);
        let mut early = first.try_clone().unwrap();
        read_some(&mut first, read_before);
        let mut late = first.try_clone().unwrap();
        drop(first);
        read_some(&mut early, read_before / 2);
        drop(early);
        let (got, error) = read(&mut late);
        assert!(error.is_none());
        assert_eq!(got, steps, "after {read_before} frames");
    }
}

#[test]
fn nothing_is_read_before_somebody_reads() {
    let body = ReplayBody::new(Script::of([Step::Panics]), 1000);
    drop(body.try_clone());
    drop(body);
}

#[test]
fn the_length_that_is_left_is_told_by_each_clone_for_itself() {
    let mut first = ReplayBody::new(Script::sized(["one", "three"]), 1000);
    let mut second = first.try_clone().unwrap();
    assert_eq!((exact(&first), exact(&second)), (Some(8), Some(8)));
    read_some(&mut first, 1);
    assert_eq!((exact(&first), exact(&second)), (Some(5), Some(8)));
    read_some(&mut second, 2);
    assert_eq!((exact(&first), exact(&second)), (Some(5), Some(0)));
    assert_eq!((first.is_end_stream(), second.is_end_stream()), (false, true));
    assert!(!second.try_clone().unwrap().is_end_stream());

    let empty = ReplayBody::new(Script::sized([]), 0);
    let clone = empty.try_clone().unwrap();
    assert!(empty.is_end_stream() && clone.is_end_stream());
    assert_eq!((exact(&empty), exact(&clone)), (Some(0), Some(0)));
}

// pitfall B15
#[test]
fn over_the_cap_it_passes_through_and_no_clone_is_ever_taken_for_empty() {
    let frames = || ["0".repeat(100), "1".repeat(100)].map(|text| Step::Data(Bytes::from(text)));
    let mut first = ReplayBody::new(Script::of(frames()), 199);
    let mut second = first.try_clone().unwrap();
    read_some(&mut first, 1);
    assert!(first.try_clone().is_some(), "100 bytes are within the cap");
    read_some(&mut first, 1);
    assert!(first.try_clone().is_none() && second.try_clone().is_none());
    assert!(!second.take_over());
    assert_eq!(read(&mut first).0, []);

    assert!(!second.is_end_stream());
    assert_ne!(second.size_hint().upper(), Some(0));
    let (got, error) = read(&mut second);
    assert_eq!(got, []);
    assert!(over_cap(error));

    let mut fits = ReplayBody::new(Script::of(frames()), 200);
    let mut again = fits.try_clone().unwrap();
    assert_eq!(read(&mut fits).0, frames());
    assert_eq!(read(&mut again).0, frames());
}

#[test]
fn a_body_that_says_it_is_too_large_can_be_cloned_until_it_is_read() {
    let frames = || {
        Script::sized(
            ["a frame of little more than sixty-four bytes, so that it counts as what it is"; 2],
        )
    };
    let first = ReplayBody::new(frames(), 100);
    let mut second = first.try_clone().unwrap();
    drop(first); // it was never sent
    assert!(second.take_over());
    assert_eq!(exact(&second), exact(&frames()));
    read_some(&mut second, 1);
    assert!(second.try_clone().is_none(), "nothing of it is kept");
    assert_eq!(read(&mut second).0.len(), 1);
}

#[test]
fn a_body_that_trickles_fills_no_memory() {
    let mut body = ReplayBody::new(Script::of(std::iter::repeat_n(data("x"), 1000)), 6400);
    let _copy = body.try_clone();
    read_some(&mut body, 100);
    assert!(body.try_clone().is_some());
    read_some(&mut body, 1);
    assert!(body.try_clone().is_none());
}

#[test]
fn a_body_that_failed_is_not_sent_again() {
    let mut first = ReplayBody::new(Script::of([data("one"), Step::Fails]), 1000);
    let mut second = first.try_clone().unwrap();
    let mut third = first.try_clone().unwrap();
    let (_, error) = read(&mut first);
    assert_eq!(error.unwrap().downcast_ref(), Some(&Broken), "its reader is told what happened");
    assert!(second.try_clone().is_none());
    assert!(!second.take_over());
    let (got, error) = read(&mut second);
    assert_eq!(got, [data("one")]);
    assert_eq!(error.unwrap().downcast_ref(), Some(&ReplayError::Failed));
    assert!(!third.is_end_stream() && exact(&third) != Some(3));
    read_some(&mut third, 1);
}

#[test]
fn a_body_that_panicked_is_an_error_to_all_others() {
    let mut first = ReplayBody::new(Script::of([Step::Panics]), 1000);
    let mut second = first.try_clone().unwrap();
    assert!(caught(|| next(&mut first)).is_none());
    let (_, error) = read(&mut second);
    assert_eq!(error.unwrap().downcast_ref(), Some(&ReplayError::Failed));
}

// A client may go on sending a request whose answer has come.
#[test]
fn what_is_left_of_a_failed_attempt_takes_nothing_from_the_next() {
    let frames = || ["0", "1", "2", "3"].map(|text| Step::Data(Bytes::from(text.repeat(100))));
    let mut failed = ReplayBody::new(Script::of(frames()), 150);
    let mut next_one = failed.try_clone().unwrap();
    let mut spare = failed.try_clone().unwrap();
    read_some(&mut failed, 1);
    assert!(next_one.take_over());
    read_some(&mut failed, 1); // over the cap
    assert!(over_cap(read(&mut failed).1), "only one can go on, and it is not this one");
    assert_eq!(read(&mut next_one).0, frames());
    assert!(!spare.take_over());
    assert!(over_cap(read(&mut spare).1));
}

#[test]
fn whoever_took_over_and_went_leaves_the_others_as_they_were() {
    let frames = || ["0", "1", "2"].map(|text| Step::Data(Bytes::from(text.repeat(100))));
    let mut first = ReplayBody::new(Script::of(frames()), 150);
    let mut second = first.try_clone().unwrap();
    read_some(&mut first, 1);
    assert!(second.take_over());
    drop(second); // on second thoughts it is not sent
    assert_eq!(read(&mut first).0, frames()[1..]);
}

#[test]
fn two_that_wait_are_both_woken_and_neither_depends_on_the_other() {
    let (mut sender, body) = Channel::<Bytes, Broken>::new(8);
    let mut first = ReplayBody::new(body, 1000);
    let mut second = first.try_clone().unwrap();
    let bells = [CountingWaker::new(), CountingWaker::new()];
    let wait = |body: &mut ReplayBody<_>, nth: usize| {
        let waker = bells[nth].waker();
        Pin::new(body).poll_frame(&mut Context::from_waker(&waker)).is_pending()
    };
    assert!(wait(&mut first, 0) && wait(&mut second, 1));
    sender.try_send(Frame::data(Bytes::from("one"))).unwrap();
    assert_eq!(bells.each_ref().map(CountingWaker::wakes), [1, 1]);
    assert!(!wait(&mut second, 1) && !wait(&mut first, 0));
    // The one that polled the original last goes away, or does not come back.
    assert!(wait(&mut first, 0) && wait(&mut second, 1));
    drop(second);
    sender.try_send(Frame::data(Bytes::from("two"))).unwrap();
    assert_eq!(bells[0].wakes(), 2);
    assert!(!wait(&mut first, 0));
}

/// A body that does something while it is polled, and then has a frame.
struct Busy(Box<dyn FnMut() + Send>);

impl Body for Busy {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        (self.0)();
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
    }
}

#[test]
fn one_that_comes_while_another_polls_is_told_when_that_is_done() {
    let task = CountingWaker::new();
    let waker = task.waker();
    let (sender, latecomers) = std::sync::mpsc::channel::<ReplayBody<Busy>>();
    let (back, polled) = std::sync::mpsc::channel();
    let mut first = ReplayBody::new(
        Busy(Box::new(move || {
            if let Ok(mut late) = latecomers.try_recv() {
                let poll = Pin::new(&mut late).poll_frame(&mut Context::from_waker(&waker));
                back.send((late, poll.is_pending())).unwrap();
            }
        })),
        1000,
    );
    sender.send(first.try_clone().unwrap()).unwrap();
    assert!(next(&mut first).is_ready());
    let (mut late, was_pending) = polled.try_recv().unwrap();
    // By the frame that is there now, and by the source that is back.
    assert!(was_pending && task.wakes() > 0);
    assert!(next(&mut late).is_ready());
}

#[test]
fn many_read_at_the_same_time_and_one_at_a_time_polls_the_original() {
    let steps = || (0..500).map(|nth: u32| Step::Data(Bytes::from(nth.to_string())));
    let body = ReplayBody::new(Script::of(steps()), usize::MAX);
    let clones: Vec<_> = (0..4).map(|_| body.try_clone().unwrap()).collect();
    std::thread::scope(|scope| {
        for mut clone in clones {
            scope.spawn(move || {
                let mut got = Vec::new();
                while got.len() < 500 {
                    // Pending while another one is at it.
                    if let Poll::Ready(Some(Ok(frame))) = next(&mut clone) {
                        got.push(Step::Data(frame.into_data().unwrap()));
                    }
                }
                assert!(got.into_iter().eq(steps()));
            });
        }
    });
}

#[derive(Debug, Clone)]
enum Act {
    Read(usize, usize),
    Clone(usize),
    Drop(usize),
    TakeOver(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (0..8usize, 1..4usize).prop_map(|(who, frames)| Act::Read(who, frames)),
        2 => (0..8usize).prop_map(Act::Clone),
        1 => (0..8usize).prop_map(Act::Drop),
        1 => (0..8usize).prop_map(Act::TakeOver),
    ];
    prop::collection::vec(act, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is done with clones, each of them gives the body from its beginning or an error, and
    /// tells the truth about what is left.
    #[test]
    fn no_clone_ever_gives_anything_but_the_body(
        lengths in prop::collection::vec(0..200usize, 0..8),
        sized in any::<bool>(),
        cap in 0..800usize,
        acts in acts(),
    ) {
        let frames: Vec<_> = (b'a'..).zip(&lengths)
            .map(|(letter, &length)| Step::Data(Bytes::from(vec![letter; length])))
            .collect();
        let script = Script { sized, ..Script::of(frames.clone()) };
        let mut bodies = vec![(ReplayBody::new(script, cap), 0)];
        for act in acts {
            let count = bodies.len();
            match act {
                Act::Read(who, most) if count > 0 => {
                    let (body, read) = &mut bodies[who % count];
                    let left: usize = frames[*read..].iter().map(Step::len).sum();
                    let retry_after = body.size_hint();
                    prop_assert!(retry_after.lower() <= left as u64);
                    prop_assert!(retry_after.upper().is_none_or(|upper| upper >= left as u64));
                    prop_assert!(!body.is_end_stream() || *read == frames.len());
                    for _ in 0..most {
                        match next(body) {
                            Poll::Ready(Some(Ok(frame))) => {
                                prop_assert_eq!(&Step::Data(frame.into_data().unwrap()), &frames[*read]);
                                *read += 1;
                            }
                            Poll::Ready(None) => prop_assert_eq!(*read, frames.len()),
                            Poll::Ready(Some(Err(error))) => {
                                prop_assert!(over_cap(Some(error)));
                                bodies.remove(who % count);
                                break;
                            }
                            Poll::Pending => prop_assert!(false, "pending"),
                        }
                    }
                }
                Act::Clone(who) if count > 0 && count < 8 => {
                    if let Some(clone) = bodies[who % count].0.try_clone() {
                        bodies.push((clone, 0));
                    }
                }
                Act::TakeOver(who) if count > 0 => {
                    let (mut body, read) = bodies.remove(who % count);
                    if body.take_over() && read == 0 {
                        prop_assert_eq!(super::read(&mut body).0, frames.clone());
                    }
                }
                Act::Drop(who) if count > 0 => drop(bodies.remove(who % count)),
                _ => {}
            }
        }
    }
}

#[test]
fn replay_copies_what_it_allows_and_the_body_can_give() {
    fn request<B>(method: &str, body: B) -> Request<B> {
        Request::builder().method(method).body(body).unwrap()
    }
    let recorded = || ReplayBody::new(Script::of([data("x"), Step::Fails]), 100);
    let replay = Replay::default();
    let mut put = request("PUT", recorded());
    put.headers_mut().insert("a", "b".parse().unwrap());
    put.extensions_mut().insert(7_u8);
    let mut copy = replay.clone_request(&put).unwrap();
    assert_eq!((copy.method(), &copy.headers()["a"]), (&http::Method::PUT, &put.headers()["a"]));
    assert_eq!(copy.extensions().get(), Some(&7_u8));
    let post = request("POST", recorded());
    assert!(replay.clone_request(&post).is_none() && replay.clone_unsent(&post).is_some());
    assert!(replay.take_over(&mut copy));
    read(put.body_mut());
    assert!(replay.clone_request(&put).is_none() && !replay.take_over(&mut copy));

    let held = request("PUT", Full::new(Bytes::from("held")));
    assert!(replay.clone_request(&held).is_some());
    assert!(replay.clone_request(&request("PUT", Some(recorded()))).is_some());
}

/// Bytes that say when they are gone.
struct Owned(Arc<str>);

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[test]
fn nothing_is_kept_that_nobody_can_send_again() {
    let alive: Arc<str> = "x".into();
    let steps: Vec<_> =
        (0..4).map(|_| Step::Data(Bytes::from_owner(Owned(Arc::clone(&alive))))).collect();
    let kept = || Arc::strong_count(&alive) - 1;
    let mut body = ReplayBody::new(Script::of(steps), 1000);
    let copy = body.try_clone().unwrap();
    for _ in 0..2 {
        drop(next(&mut body));
    }
    assert_eq!(kept(), 4, "two to come, and two for the copy");
    drop(copy); // the answer has begun
    drop(next(&mut body));
    assert_eq!(kept(), 1, "what is to come");
    assert!(body.try_clone().is_none(), "it would not be whole");
    assert!(read(&mut body).1.is_none());
    assert_eq!(kept(), 0);
}
