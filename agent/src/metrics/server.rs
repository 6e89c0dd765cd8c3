//! A small HTTP server for scrapes: one path, few connections, short patience.

use super::{Telemetry, text};
use crate::watch::wall_clock;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::{debug, warn};

/// Scrapes at once. Further ones wait.
const MAX_CONNECTIONS: usize = 8;

/// How long a client may take, from its connection to its last byte.
const PATIENCE: Duration = Duration::from_secs(10);

/// Wait after a connection could not be accepted, as when descriptors have run out.
const PAUSE: Duration = Duration::from_secs(1);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers `GET /metrics`, until it is dropped.
pub async fn serve(listener: TcpListener, telemetry: Arc<Telemetry>) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!("a scrape could not connect: {error}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let telemetry = Arc::clone(&telemetry);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let response = answer(&request, &telemetry);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .keep_alive(false)
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            match tokio::time::timeout(PATIENCE, connection).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!("a scrape ended early: {error}"),
                Err(_) => debug!("a scrape took longer than {} s", PATIENCE.as_secs()),
            }
            drop(permit);
        });
    }
}

fn answer(request: &Request<Incoming>, telemetry: &Arc<Telemetry>) -> Response<Full<Bytes>> {
    let plain = |status, body: &str| response(status, "text/plain; charset=utf-8", body.to_owned());
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "metrics are at /metrics\n");
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        let mut refusal = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        refusal.headers_mut().insert(ALLOW, hyper::header::HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match text(telemetry, wall_clock()) {
        Ok(text) => response(StatusCode::OK, OPEN_METRICS, text),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error}\n")),
    }
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }

    #[tokio::test]
    async fn a_scrape_is_answered_and_nothing_else_is() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, Arc::default()));
        let response = exchange(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{head}");
        assert!(body.contains("isotherm_agent_build_info{") && body.ends_with("# EOF\n"), "{body}");
        let refused =
            exchange(address, "POST /metrics HTTP/1.1\r\nHost: x\r\ncontent-length: 0\r\n\r\n").await;
        assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("allow: GET, HEAD"), "{refused}");
        let lost = exchange(address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(lost.starts_with("HTTP/1.1 404 ") && lost.contains("/metrics"), "{lost}");
        server.abort();
    }
}
