//! Lists that come from somewhere, time and again.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use seawall::endpoints::Source;
use tokio::sync::mpsc;
use tower::BoxError;
use tower::discover::Change;

use super::*;

/// A source that gives one list after the other, and the last one for good.
fn lists(
    lists: Vec<Result<Vec<&'static str>, &'static str>>,
) -> Source<impl seawall::endpoints::Resolve> {
    let lists = Mutex::new(VecDeque::from(lists));
    Source::new(move || -> Result<Vec<Endpoint>, BoxError> {
        let mut lists = lists.lock().unwrap();
        let next = if lists.len() > 1 { lists.pop_front() } else { lists.front().cloned() };
        Ok(next.expect("there is one")?.into_iter().map(Endpoint::from).collect())
    })
    .every(Duration::from_secs(10))
}

fn set(heard: &Arc<Mutex<Vec<EventKind>>>) -> Set {
    let (log, world) = (Arc::clone(heard), World::default());
    Endpoints::builder("search")
        .members(["a", "b", "c"])
        .observe(move |event: &Event| log.lock().unwrap().push(event.kind))
        .over(move |endpoint| Ok(world.client(endpoint)))
        .unwrap()
}

fn known(handle: &EndpointsHandle) -> Vec<String> {
    handle.endpoints().iter().map(|one| one.endpoint.name().to_owned()).collect()
}

// pitfall B54
#[tokio::test(start_paused = true)]
async fn what_a_source_cannot_mean_leaves_the_last_good_list_in_force() {
    let heard: Arc<Mutex<Vec<EventKind>>> = Arc::default();
    let set = set(&heard);
    let handle = set.handle();
    let source = lists(vec![
        Ok(vec!["a", "b", "d"]),
        Err("no such host"),
        Ok(vec![]),
        Ok(vec!["x"]),
        Ok(vec!["a", "a"]),
        Ok(vec!["b", "d"]),
    ]);
    let followed = handle.clone();
    let following = tokio::spawn(async move { followed.follow(source).await });
    for expected in [
        &["a", "b", "d"][..], // a list
        &["a", "b", "d"],
        &["a", "b", "d"],
        &["a", "b", "d"],
        &["a", "b", "d"],
        &["b", "d"],
    ] {
        let before = heard.lock().unwrap().len();
        while heard.lock().unwrap().len() == before {
            sleep(MS).await;
        }
        assert_eq!(known(&handle), expected);
    }
    following.abort();
    let heard = heard.lock().unwrap();
    assert_eq!(heard.first(), Some(&EventKind::EndpointsAdopted { members: 3 }));
    assert_eq!(heard.last(), Some(&EventKind::EndpointsAdopted { members: 2 }));
    let ages: Vec<_> = heard
        .iter()
        .filter_map(|kind| match kind {
            EventKind::SourceFailed { age } => Some(age.as_secs()),
            _ => None,
        })
        .collect();
    assert_eq!(ages.len(), 4, "{heard:?}");
    for (age, nth) in ages.iter().zip(1..) {
        assert!((9 * nth..=11 * nth).contains(age), "{ages:?}");
    }
}

/// A rollout that replaced all at once: refused at first, and believed when it is said again and again.
#[tokio::test(start_paused = true)]
async fn a_source_that_says_three_times_that_all_were_replaced_is_believed() {
    let heard: Arc<Mutex<Vec<EventKind>>> = Arc::default();
    let set = set(&heard);
    let handle = set.handle();
    let source = lists(vec![
        Ok(vec!["x", "y", "z"]),
        Ok(vec!["x", "y", "z"]),
        Err("no such host"), // not in a row
        Ok(vec!["x", "y", "z"]),
        Ok(vec!["v", "y", "z"]),
        Ok(vec!["w", "y", "z"]),
    ]);
    let followed = handle.clone();
    let following = tokio::spawn(async move { followed.follow(source).await });
    for nth in 1..=6 {
        while heard.lock().unwrap().len() < nth {
            sleep(MS).await;
        }
        let expected = if nth < 6 { ["a", "b", "c"] } else { ["w", "y", "z"] };
        assert_eq!(known(&handle), expected, "after answer {nth}");
    }
    following.abort();
}

/// What a discovery says once stays true until it says something else.
#[tokio::test(start_paused = true)]
async fn a_discovery_that_says_for_half_a_minute_that_all_were_replaced_is_believed() {
    let heard: Arc<Mutex<Vec<EventKind>>> = Arc::default();
    let set = set(&heard);
    let handle = set.handle();
    let all = (1..).zip(["x", "y"]).map(|(key, name)| Change::Insert(key, Endpoint::new(name)));
    let all = all.map(Ok::<_, std::convert::Infallible>).collect::<Vec<_>>();
    let changes = futures::StreamExt::chain(futures::stream::iter(all), futures::stream::pending());
    let followed = handle.clone();
    let following = tokio::spawn(async move { followed.follow_discover(Box::pin(changes)).await });
    sleep(Duration::from_secs(29)).await;
    assert_eq!(known(&handle), ["a", "b", "c"]);
    assert_eq!(*heard.lock().unwrap(), [EventKind::SourceFailed { age: Duration::ZERO }]);
    sleep(Duration::from_secs(2)).await;
    assert_eq!(known(&handle), ["x", "y"]);
    following.abort();
}

/// `unfold` panics if it is polled after its end.
#[tokio::test]
async fn a_discovery_is_not_polled_after_its_end_and_what_came_before_is_adopted() {
    for fails in [false, true] {
        let set = set(&Arc::default());
        let names = ["a", "b", "c", "d"];
        let inserts = (1_u32..).zip(names).map(|(key, name)| Change::Insert(key, name.into()));
        let mut changes: VecDeque<Result<_, BoxError>> = inserts.map(Ok).collect();
        if fails {
            changes.push_back(Err("the registry is gone".into()));
        }
        let once = futures::stream::unfold(changes, |mut changes| async move {
            Some((changes.pop_front()?, changes))
        });
        let handle = set.handle();
        assert_eq!(handle.follow_discover(Box::pin(once)).await.is_err(), fails);
        assert_eq!(known(&handle), ["a", "b", "c", "d"]);
    }
}

#[tokio::test]
async fn a_file_says_one_endpoint_a_line() {
    let path = std::env::temp_dir().join(format!("seawall-endpoints-{}", std::process::id()));
    let load = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let source = Source::file(&path);
        async move { source.load().await }
    };
    let endpoints =
        load("# all\n\n 10.0.0.1:80 \n10.0.0.2:80 weight=4 zone=eu name=large # big\n").await;
    let large = Endpoint::named("large", "10.0.0.2:80").weight(4).zone("eu");
    assert_eq!(endpoints.unwrap(), [Endpoint::new("10.0.0.1:80"), large]);
    for (text, told) in [
        ("", "the last line has no end: the file is empty, or half written"),
        ("10.0.0.1:80\n10.0.0", "the last line has no end: the file is empty, or half written"),
        ("a weight=many\n", r#"line 1: "weight=many": name=…, weight=1 to 100, zone=…"#),
        ("a\nb wieght=4\n", r#"line 2: "wieght=4": name=…, weight=1 to 100, zone=…"#),
    ] {
        assert_eq!(load(text).await.unwrap_err().to_string(), told);
    }
    assert!(load("# nobody\n").await.unwrap().is_empty()); // which no set takes
    std::fs::remove_file(&path).unwrap();
    assert!(Source::file(&path).load().await.is_err());
}

#[tokio::test]
async fn a_name_is_looked_up_by_the_system() {
    let endpoints = Source::dns("localhost:8080").load().await.unwrap();
    assert!(endpoints.iter().any(|one| one.address() == "127.0.0.1:8080"), "{endpoints:?}");
    assert!(Source::dns("localhost").load().await.is_err(), "there is no port");
}

#[tokio::test]
async fn a_source_that_panics_is_one_that_fails() {
    let source = Source::new(|| -> Result<Vec<Endpoint>, BoxError> { panic!("scripted: resolve") });
    assert!(source.load().await.is_err());
}

#[tokio::test]
async fn tower_s_discover_is_followed() {
    struct Changes(mpsc::UnboundedReceiver<Result<Change<u32, Endpoint>, BoxError>>);
    impl futures::Stream for Changes {
        type Item = Result<Change<u32, Endpoint>, BoxError>;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0.poll_recv(cx)
        }
    }
    let heard: Arc<Mutex<Vec<EventKind>>> = Arc::default();
    let set = set(&heard);
    let handle = set.handle();
    let (changes, all) = mpsc::unbounded_channel();
    for (key, name) in (1..).zip(["a", "b", "c", "d"]) {
        changes.send(Ok(Change::Insert(key, Endpoint::new(name)))).unwrap();
    }
    changes.send(Ok(Change::Remove(2))).unwrap();
    let followed = handle.clone();
    let following = tokio::spawn(async move { followed.follow_discover(Changes(all)).await });
    while known(&handle) != ["a", "c", "d"] {
        tokio::task::yield_now().await;
    }
    assert_eq!(heard.lock().unwrap().len(), 1, "what comes together is adopted together");
    for key in [1, 3, 4] {
        changes.send(Ok(Change::Remove(key))).unwrap();
    }
    changes.send(Err("the registry is gone".into())).unwrap();
    assert!(following.await.unwrap().is_err());
    assert_eq!(known(&handle), ["a", "c", "d"]);
}

/// A resolver that hangs has failed when its time is over, is not asked a second time meanwhile, and is heard when it
/// answers after all.
#[tokio::test]
async fn a_source_that_hangs_has_failed_and_is_not_asked_again() {
    let (asked, counted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (answer, answers) = std::sync::mpsc::channel::<Vec<&str>>();
    let (answers, count) = (Mutex::new(answers), Arc::clone(&asked));
    let source = Source::new(move || -> Result<Vec<Endpoint>, BoxError> {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(answers.lock().unwrap().recv()?.into_iter().map(Endpoint::from).collect())
    });
    let source = source.every(MS).time_limit(5 * MS);
    let (tell, mut told) = mpsc::unbounded_channel();
    let (world, failures) = (World::default(), Arc::clone(&counted));
    let set = Endpoints::builder("search")
        .members(["a", "b", "c"])
        .observe(move |event: &Event| match event.kind {
            EventKind::SourceFailed { .. } if failures.fetch_add(1, Ordering::Relaxed) < 3 => {
                tell.send(event.key.as_deref().unwrap_or_default().to_owned()).unwrap();
            }
            EventKind::EndpointsAdopted { members } => tell.send(members.to_string()).unwrap(),
            _ => {}
        })
        .over(move |endpoint| Ok(world.client(endpoint)))
        .unwrap();
    let handle = set.handle();
    let following = tokio::spawn(async move { handle.follow(source).await });
    for _ in 0..3 {
        assert_eq!(told.recv().await.unwrap(), "no answer within 5ms");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    answer.send(vec!["a", "b"]).unwrap();
    assert_eq!(told.recv().await.unwrap(), "2");
    following.abort();
    drop(answer); // whoever is asked now ends
}

/// What was wrong is said with the event.
#[tokio::test(start_paused = true)]
async fn it_is_said_why_a_list_was_not_taken() {
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let (log, world) = (Arc::clone(&heard), World::default());
    let set = Endpoints::builder("search")
        .members(["a", "b", "c"])
        .observe(move |event: &Event| {
            log.lock().unwrap().push(event.key.as_deref().unwrap_or_default().to_owned());
        })
        .over(move |endpoint| Ok(world.client(endpoint)))
        .unwrap();
    let source = lists(vec![Err("no such host"), Ok(vec![]), Ok(vec!["x"]), Ok(vec!["a", "b"])]);
    let handle = set.handle();
    let following = tokio::spawn(async move { handle.follow(source).await });
    while heard.lock().unwrap().len() < 4 {
        sleep(MS).await;
    }
    following.abort();
    assert_eq!(
        *heard.lock().unwrap(),
        [
            "no such host",
            "invalid configuration of endpoints `search`: members = 0: 1 to 16384 members",
            "a list of 1 endpoints has 0 of the 3 there are, less than half: `adopt_anyway` if that is meant",
            "",
        ]
    );
}
