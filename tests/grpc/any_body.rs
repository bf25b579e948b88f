//! The server's layers over services of any body.

use seawall::circuit_breaker::CircuitBreakerLayer;
use seawall::grpc::{self, GrpcClassifier, at_trailers};
use seawall::http::OnBodyEnd;
use seawall::http::body_timeout::BodyTimeoutLayer;
use seawall::{Error, Reason};
use tonic::service::InterceptorLayer;
use tonic::{Request, Status};
use tower::ServiceBuilder;

use super::{Peer, say, serve, unary};

#[allow(clippy::unnecessary_wraps)] // as an interceptor is
fn pass(request: Request<()>) -> Result<Request<()>, Status> {
    Ok(request)
}

// field S2: tonic's interceptors have a body of their own.
#[tokio::test]
async fn a_server_over_interceptors_with_each_option() {
    macro_rules! over {
        ($($layer:expr),* $(,)?) => {
            $({
                let (peer, _bell) = Peer::new();
                let server = ServiceBuilder::new()
                    .layer($layer)
                    .map_err(Error::Inner)
                    .layer(InterceptorLayer::new(pass))
                    .service(peer.service());
                assert_eq!(unary(&serve(server).await, say("hello")).await.unwrap(), "hello");
            })*
        };
    }
    let breaker = || {
        let breaker = CircuitBreakerLayer::builder("x").classify(GrpcClassifier);
        breaker.completion(at_trailers()).build().unwrap()
    };
    over![
        grpc::server("x").build().unwrap(),
        grpc::server("x").completion(OnBodyEnd).build().unwrap(),
        grpc::server("x").completion(at_trailers()).build().unwrap(),
        grpc::server("x")
            .status(Reason::Full, http::StatusCode::TOO_MANY_REQUESTS)
            .unwrap()
            .retry_after(None)
            .build()
            .unwrap(),
        tower::layer::util::Stack::new(breaker(), grpc::respond()),
        tower::layer::util::Stack::new(BodyTimeoutLayer::new("x"), {
            let inside = grpc::server("x").completion(OnBodyEnd).build().unwrap();
            tower::layer::util::Stack::new(inside, tower::layer::util::Identity::new())
        }),
    ];
}
