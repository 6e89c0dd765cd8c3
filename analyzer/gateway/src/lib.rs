//! The services of a gRPC server as REST and JSON, by the `google.api.http` rules of their contracts.
//!
//! A request is matched to a method ([`binding`]), its path, query and body become the method's message ([`request`]),
//! the method is called in this process with the same layers as by gRPC ([`call`]), and what it answers becomes JSON,
//! server-sent events, lines or bytes ([`answer`]). Errors are problems ([`problem`]); OpenAPI is written from the same
//! rules and the comments of the contracts ([`openapi`]). Nothing here knows what the methods do.

mod answer;
mod binding;
mod call;
mod comments;
mod mask;
mod openapi;
mod problem;
mod request;
mod template;

use crate::binding::{Binding, bindings};
use crate::call::Described;
use crate::mask::Mask;
use crate::problem::Problem;
use crate::request::Malformed;
use crate::template::Matched;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Response, StatusCode, request::Parts};
use axum::response::IntoResponse;
use axum::routing::{any, get};
pub use binding::BindingError;
use bytes::Bytes;
use http_body_util::LengthLimitError;
use prost_reflect::DescriptorPool;
use std::error::Error;
use std::sync::Arc;
pub use template::TemplateError;
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Code, client};

/// The largest body of a request, in bytes: an import of a hundred thousand failures.
pub const MAX_BODY_BYTES: usize = 16 << 20;

/// What a caller says of itself and its request, which the methods hear as well.
const PASSED_ON: [HeaderName; 3] =
    [AUTHORIZATION, HeaderName::from_static("x-request-id"), HeaderName::from_static("traceparent")];

/// How the services introduce themselves in OpenAPI.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// Their name.
    pub title: &'a str,
    /// The version of the program.
    pub version: &'a str,
    /// What they are for.
    pub description: &'a str,
}

#[derive(Debug)]
struct Gateway {
    bindings: Vec<Binding>,
    routes: Routes,
}

/// Routes for all methods that have a rule, below `/v1`, and `/openapi.json`.
///
/// `descriptors` is an encoded `FileDescriptorSet` with its imports, options and comments. Other paths are left to the
/// caller: [`unknown`].
pub fn router(descriptors: &[u8], routes: Routes, about: About<'_>) -> Result<Router, BindingError> {
    let pool = DescriptorPool::decode(descriptors)?;
    let bindings = bindings(&pool)?;
    let openapi = openapi::document(&bindings, about).to_string();
    let openapi = move || {
        let openapi = openapi.clone();
        async move { ([(CONTENT_TYPE, "application/json")], openapi) }
    };
    let gateway = Arc::new(Gateway { bindings, routes: routes.prepare() });
    let router = Router::new().route("/v1/{*path}", any(answer)).with_state(gateway);
    Ok(router.route("/openapi.json", get(openapi)))
}

/// What is told to those who ask for a path that is none.
pub async fn unknown(request: Request) -> Response<Body> {
    let headers = request.headers();
    if headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc")) {
        let method = request.uri().path();
        return tonic::Status::unimplemented(format!("there is no method {method}")).into_http();
    }
    let detail = format!("there is nothing at {}; /openapi.json says what there is", request.uri().path());
    Problem::new(StatusCode::NOT_FOUND, Code::NotFound, detail).into_response()
}

/// A problem that the caller found, told as those of the gateway are.
pub fn refusal(status: StatusCode, detail: impl Into<String>) -> impl IntoResponse {
    Problem::new(status, Code::PermissionDenied, detail)
}

async fn answer(State(gateway): State<Arc<Gateway>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    match gateway.answer(&parts, body).await {
        Ok(response) => response,
        Err(problem) => {
            if problem.status >= 500 {
                tracing::warn!(path = parts.uri.path(), code = problem.code, "{}", problem.detail);
            }
            problem.into_response()
        }
    }
}

impl Gateway {
    async fn answer(&self, parts: &Parts, body: Body) -> Result<Response<Body>, Problem> {
        let (binding, variables) = match self.find(parts)? {
            Found::Binding(binding, variables) => (binding, variables),
            Found::OtherVerbs(response) => return Ok(response),
        };
        let body = body_of(binding, &parts.headers, body).await?;
        let query = parts.uri.query().unwrap_or_default();
        let message = request::message(binding, variables, query, &body)?;
        let mask = mask(binding, query)?;
        let mut grpc = client::Grpc::new(self.routes.clone()).max_decoding_message_size(usize::MAX);
        let codec = Described { output: binding.method.output() };
        let mut call = tonic::Request::new(message);
        *call.metadata_mut() = metadata(&parts.headers);
        let path = binding.path.clone();
        let problem = |status: tonic::Status| Problem::from(&status);
        if grpc.ready().await.is_err() {
            return Err(Problem::from(&tonic::Status::unavailable("the services are not ready")));
        }
        if !binding.method.is_server_streaming() {
            let answered = grpc.unary(call, path, codec).await.map_err(problem)?;
            return answer::message(answered.get_ref(), &mask, &parts.headers, binding.verb == Method::GET);
        }
        let answered = grpc.server_streaming(call, path, codec).await.map_err(problem)?.into_inner();
        match &binding.raw {
            Some(field) => answer::bytes(answered, field.clone()).await.map_err(problem),
            None => Ok(answer::messages(answered, mask, &parts.headers)),
        }
    }
}

enum Found<'a> {
    Binding(&'a Binding, Vec<(String, String)>),
    /// There are requests with this path, but not with this method.
    OtherVerbs(Response<Body>),
}

impl Gateway {
    fn find(&self, parts: &Parts) -> Result<Found<'_>, Problem> {
        let path = parts.uri.path();
        let mut others = Vec::new();
        for binding in &self.bindings {
            match binding.template.matches(path) {
                Matched::No => {}
                Matched::Yes(variables) if is_of(binding, &parts.method) => {
                    return Ok(Found::Binding(binding, variables));
                }
                Matched::NotText(field) if is_of(binding, &parts.method) => {
                    return Err(Malformed::new(field, "it is no UTF-8").into());
                }
                Matched::Yes(_) | Matched::NotText(_) => others.push(binding.verb.as_str()),
            }
        }
        if others.is_empty() {
            let detail = format!("there is nothing at {path}; /openapi.json says what there is");
            return Err(Problem::new(StatusCode::NOT_FOUND, Code::NotFound, detail));
        }
        others.sort_unstable();
        others.dedup();
        let allowed = others.join(", ");
        let detail = format!("{} is not for {path}, but {allowed} is", parts.method);
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, detail);
        let mut response = problem.into_response();
        response.headers_mut().extend(HeaderValue::from_str(&allowed).ok().map(|allowed| (ALLOW, allowed)));
        Ok(Found::OtherVerbs(response))
    }
}

/// HEAD is a GET whose answer the server leaves out.
fn is_of(binding: &Binding, method: &Method) -> bool {
    binding.verb == *method || (binding.verb == Method::GET && *method == Method::HEAD)
}

/// The body. A page of another site can make a browser send any, but not call it JSON without being asked first.
async fn body_of(binding: &Binding, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if binding.has_body && !kind.eq_ignore_ascii_case("application/json") {
        let detail = format!("the body has to be application/json, not {kind:?}");
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, detail));
    }
    let limited = to_bytes(body, MAX_BODY_BYTES).await;
    limited.map_err(|error| {
        let too_large = error.source().is_some_and(<dyn Error>::is::<LengthLimitError>);
        if too_large {
            let detail = format!("the body is larger than {MAX_BODY_BYTES} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, detail)
        } else {
            Problem::new(
                StatusCode::BAD_REQUEST,
                Code::InvalidArgument,
                format!("the body broke off: {error}"),
            )
        }
    })
}

/// What the query says of the fields that are wanted.
fn mask(binding: &Binding, query: &str) -> Result<Mask, Malformed> {
    let mut said = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == request::FIELDS);
    match (said.next(), said.next()) {
        (None, _) => Ok(Mask::default()),
        (Some((_, fields)), None) => Mask::parse(&fields, &binding.method.output()),
        (Some(_), Some(_)) => Err(Malformed::new(request::FIELDS, "it is said twice")),
    }
}

fn metadata(headers: &HeaderMap) -> MetadataMap {
    let mut passed = HeaderMap::new();
    for name in &PASSED_ON {
        passed.extend(headers.get_all(name).iter().map(|value| (name.clone(), value.clone())));
    }
    MetadataMap::from_headers(passed)
}
