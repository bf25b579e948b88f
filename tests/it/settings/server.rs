//! The settings of the whole stack of a server.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use seawall::http::{self as ready, ServerConfig, TimeoutHeader};
use seawall::{Error, bulkhead};
use tokio::time::sleep;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::{ms, paths};
use crate::scene::now;

fn line(queue: u32, max_wait: Duration) -> bulkhead::Config {
    bulkhead::Config { queue, max_wait, ..Default::default() }
}

#[test]
fn a_file_comes_back_as_it_went_and_one_setting_alone_is_enough() {
    let read = |text: &str| serde_json::from_str::<ServerConfig>(text);
    assert_eq!(read("{}").unwrap(), ServerConfig::default());
    let others = ServerConfig { deadline: ms(700), bulkhead: line(7, ms(70)) };
    assert_eq!(read(&serde_json::to_string(&others).unwrap()).unwrap(), others);
    assert!(read(r#"{ "bulkhead": { "limits": 1 } }"#).is_err());
    for alone in [
        r#"{ "deadline": "500ms", "bulkhead": { "queue": 10 } }"#,
        r#"{ "bulkhead": { "queue": 10, "max_wait": "1m" } }"#,
        r#"{ "deadline": "0s" }"#,
    ] {
        let config = read(alone).unwrap();
        assert_eq!(config.validate(), Ok(()), "{alone}");
        let server = ready::server("x").config(config.clone()).build().unwrap();
        assert_eq!(server.handle().config(), config, "{alone}");
        server.handle().reload(config).unwrap();
    }
    let both = ServerConfig { deadline: ms(700), bulkhead: line(7, ms(700)) };
    assert_eq!(paths(&both.validate().unwrap_err()), ["bulkhead.max_wait"]);
    let deadline = ServerConfig::default().deadline;
    let both = ready::server("x").deadline(deadline).queue(1, deadline);
    let wrong = both.limit(0).build().unwrap_err();
    assert_eq!(paths(&wrong), ["bulkhead.max_wait", "bulkhead.limit"]);
    assert_eq!(wrong.origin().unwrap().to_string(), "server `x`");
}

// pitfall B26
#[tokio::test(start_paused = true)]
async fn a_reload_is_all_or_nothing_and_turns_the_deadline() {
    let server = ready::server("x").deadline_from(TimeoutHeader::Grpc).build().unwrap();
    let handle = server.handle();
    let app = ServiceBuilder::new().layer(server.clone()).map_err(Error::Inner).service(
        service_fn(|_: Request<String>| async {
            sleep(ms(700)).await;
            Ok::<_, Infallible>(Response::new(String::new()))
        }),
    );
    let ask = async |timeout: Option<&str>| {
        let mut request = Request::new(String::new());
        if let Some(timeout) = timeout {
            request.headers_mut().insert("grpc-timeout", timeout.parse().unwrap());
        }
        let began = now();
        let status = app.clone().oneshot(request).await.unwrap().status().as_u16();
        (status, began.elapsed().as_millis())
    };
    assert_eq!(ask(None).await, (200, 700));
    handle.reload(ServerConfig { deadline: ms(300), ..handle.config() }).unwrap();
    assert_eq!(ask(None).await, (504, 300));
    assert_eq!(ask(Some("50m")).await, (504, 50), "who has less has less");
    assert_eq!(ask(Some("50H")).await, (504, 300), "and no one more");

    let bad = ServerConfig { deadline: ms(900), bulkhead: line(u32::MAX, ms(1)) };
    let before = handle.config();
    let wrong = handle.reload(bad).unwrap_err();
    assert_eq!((paths(&wrong), handle.config()), (vec!["bulkhead.queue".to_owned()], before));
    assert_eq!(ask(None).await, (504, 300));
    handle.reload(ServerConfig { deadline: ms(20_000), bulkhead: line(1, ms(70)) }).unwrap();
    assert_eq!(ask(Some("50S")).await, (200, 700));
    server.bulkhead().reload(bulkhead::Config { limit: 3, ..line(1, ms(70)) }).unwrap();
    assert_eq!(handle.config().bulkhead.limit, 3);
}
