//! A reqwest client that retries, breaks and gives up in time, over a server that is busy at first.
//!
//! ```text
//! cargo run --example reqwest_client --features reqwest
//! ```

use std::time::Duration;

use seawall::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // reqwest's own retries are switched off, or they would multiply with these.
    let client = reqwest::Client::builder().retry(reqwest::retry::never()).build()?;
    let layers = seawall::reqwest::client("api") // a timeout that is set on a request is its deadline
        .deadline(Duration::from_secs(60))
        .attempt_timeout(Duration::from_secs(10))
        .build()?;
    let mut api = ServiceBuilder::new().layer(layers).map_err(Error::Inner).service(client.clone());

    let request = client.get(busy_twice().await?).build()?;
    let answer = api.ready().await?.call(request).await?;
    assert_eq!((answer.status().as_u16(), answer.text().await?.as_str()), (200, "attempt 3"));
    println!("answered at the third attempt");
    Ok(())
}

/// A server that says 503 twice, and then how often it was asked.
async fn busy_twice() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/", listener.local_addr()?);
    tokio::spawn(async move {
        for attempt in 1.. {
            let Ok((mut socket, _)) = listener.accept().await else { return };
            let _ = socket.read(&mut [0; 1024]).await;
            let status = if attempt < 3 { "503 Service Unavailable" } else { "200 OK" };
            let body = format!("attempt {attempt}");
            let (length, close) = (body.len(), "connection: close");
            let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n{close}\r\n\r\n");
            let _ = socket.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    Ok(url)
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_runs() -> Result<(), Box<dyn std::error::Error>> {
        super::main()
    }
}
