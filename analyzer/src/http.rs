//! What is told by HTTP on the port of gRPC: the control API as REST, and OpenAPI; and who is not listened to.

use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use axum::http::{StatusCode, Version};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use isotherm_gateway::{About, BindingError};
use isotherm_proto::DESCRIPTORS;
use std::net::IpAddr;
use tonic::service::Routes;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::set_header::SetResponseHeaderLayer;

const ABOUT: About<'_> = About {
    title: "Isotherm",
    version: env!("CARGO_PKG_VERSION"),
    description: "What the analyzer knows of storage partitions, and what can be done about it. Times are \
                  milliseconds since 1970, UTC; what is absent is not known.",
};

/// The services by gRPC and as REST, every answer with the id of its request.
///
/// `own_names` lets REST be asked only by an address or as localhost, for an analyzer that is reached by nothing else:
/// a page of some other site could give its own name this address, and ask in its visitor's place.
pub(crate) fn router(services: Routes, own_names: bool) -> Result<Routes, BindingError> {
    let mut rest = isotherm_gateway::router(DESCRIPTORS, services.clone(), ABOUT)?
        .layer(CatchPanicLayer::new())
        .layer(SetResponseHeaderLayer::overriding(
            HeaderName::from_static("x-content-type-options"),
            HeaderValue::from_static("nosniff"),
        ));
    if own_names {
        rest = rest.layer(from_fn(only_own_names));
    }
    let router = services
        .into_axum_router()
        .route_layer(from_fn(only_grpc))
        .fallback(isotherm_gateway::unknown)
        .merge(rest)
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid));
    Ok(router.into())
}

/// The services look at no content type, and a browser sends a form or plain text to any address over HTTP/1.1 without
/// asking. gRPC is HTTP/2, and called so.
async fn only_grpc(request: Request, next: Next) -> Response {
    let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if request.version() == Version::HTTP_2 && kind.starts_with(b"application/grpc") {
        return next.run(request).await;
    }
    let detail =
        "methods are called by gRPC, which is HTTP/2 with application/grpc; as REST they are below /v1";
    isotherm_gateway::refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).into_response()
}

async fn only_own_names(request: Request, next: Next) -> Response {
    let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    // HTTP/2 says it in the address of the request.
    match request.uri().host().or(named.map(without_port)) {
        Some(host) if is_own(host) => next.run(request).await,
        host => {
            let detail = format!(
                "this analyzer is asked by its address or as localhost, not as {:?}",
                host.unwrap_or_default()
            );
            isotherm_gateway::refusal(StatusCode::MISDIRECTED_REQUEST, detail).into_response()
        }
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

fn is_own(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_localhost_are_own_names() {
        for host in ["127.0.0.1:7600", "127.0.0.1", "[::1]:7600", "[::1]", "localhost:7600", "LOCALHOST"] {
            assert!(is_own(without_port(host)), "{host}");
        }
        for host in
            ["evil.example:7600", "evil.example", "", "localhost.evil.example", "127.0.0.1.evil.example"]
        {
            assert!(!is_own(without_port(host)), "{host}");
        }
    }
}
