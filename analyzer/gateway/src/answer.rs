//! Answers: a message as JSON; a stream as server-sent events, as JSON lines, or as the bytes that it carries.

use crate::mask::Mask;
use crate::problem::Problem;
use axum::body::Body;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use prost_reflect::{DynamicMessage, FieldDescriptor, SerializeOptions};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::convert::Infallible;
use tonic::{Status, Streaming};

const JSON: &str = "application/json";
const JSON_LINES: &str = "application/x-ndjson";
const BYTES: &str = "application/octet-stream";
const EVENTS: &str = "text/event-stream";

/// Of a digest, in bytes: enough that two answers have one tag in no lifetime.
const TAG_BYTES: usize = 16;

/// Names as in the contracts, numbers as numbers, and every field that has no presence of its own, so that an empty list
/// is a list. What is absent was not known.
const OPTIONS: SerializeOptions = SerializeOptions::new()
    .use_proto_field_name(true)
    .stringify_64_bit_integers(false)
    .skip_default_fields(false);

/// A message, for a GET with its tag; 304 if the caller has it already.
pub(crate) fn message(
    message: &DynamicMessage,
    mask: &Mask,
    request: &HeaderMap,
    tagged: bool,
) -> Result<Response<Body>, Problem> {
    let body = json(message, mask)?;
    let mut headers = HeaderMap::new();
    // What it says is of this moment.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if tagged {
        let tag = tag(&body);
        let known = request.get_all(IF_NONE_MATCH).iter().any(|header| names(header, &tag));
        headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (ETAG, tag)));
        if known {
            return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    Ok((headers, body).into_response())
}

/// A stream in the form that the caller accepts. A problem on the way is the last event, or the last line.
pub(crate) fn messages(
    messages: Streaming<DynamicMessage>,
    mask: Mask,
    request: &HeaderMap,
) -> Response<Body> {
    let accepts = request.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    let events = accepts.flat_map(|accept| accept.split(',')).any(|kind| kind.trim().starts_with(EVENTS));
    let items = until_error(messages).map(move |message| {
        let message = message.map_err(|status| Problem::from(&status))?;
        json(&message, &mask)
    });
    if events {
        let end = stream::once(async { Event::default().event("end").data("{}") });
        let events = items.map(|item| match item {
            Ok(json) => Event::default().data(text(json)),
            Err(problem) => Event::default().event("problem").data(text(encoded(&problem))),
        });
        Sse::new(events.chain(end).map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default()).into_response()
    } else {
        let lines = items.map(|item| {
            let mut line = item.unwrap_or_else(|problem| encoded(&serde_json::json!({ "problem": problem })));
            line.push(b'\n');
            Ok::<_, Infallible>(Bytes::from(line))
        });
        streamed(JSON_LINES, Body::from_stream(lines))
    }
}

/// The bytes that a stream carries, one message after the other. What goes wrong before the first is an error of its
/// own; afterwards the connection breaks off, so that nobody takes a part for the whole.
pub(crate) async fn bytes(
    mut messages: Streaming<DynamicMessage>,
    field: FieldDescriptor,
) -> Result<Response<Body>, Status> {
    let first = messages.try_next().await?;
    let pieces = stream::iter(first.map(Ok))
        .chain(messages)
        .map_ok(move |message| message.get_field(&field).as_bytes().cloned().unwrap_or_default());
    Ok(streamed(BYTES, Body::from_stream(pieces)))
}

fn streamed(kind: &'static str, body: Body) -> Response<Body> {
    let headers = [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")];
    (headers, body).into_response()
}

/// A stream of gRPC says no more after an error.
fn until_error<S, T>(items: S) -> impl Stream<Item = Result<T, Status>> + Send
where
    S: Stream<Item = Result<T, Status>> + Send,
    T: Send,
{
    items.scan(false, |ended, item| {
        let over = std::mem::replace(ended, item.is_err());
        std::future::ready((!over).then_some(item))
    })
}

fn json(message: &DynamicMessage, mask: &Mask) -> Result<Vec<u8>, Problem> {
    let failed = |error: serde_json::Error| {
        Problem::from(&Status::internal(format!("the answer cannot be told as JSON: {error}")))
    };
    if mask.is_all() {
        let mut body = serde_json::Serializer::new(Vec::new());
        message.serialize_with_options(&mut body, &OPTIONS).map_err(failed)?;
        return Ok(body.into_inner());
    }
    let mut json: Value =
        message.serialize_with_options(serde_json::value::Serializer, &OPTIONS).map_err(failed)?;
    mask.apply(&mut json);
    Ok(encoded(&json))
}

/// JSON of what has only text for keys, which always goes.
fn encoded(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

fn text(json: Vec<u8>) -> String {
    String::from_utf8(json).unwrap_or_default()
}

fn tag(body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let hex: String = digest.iter().take(TAG_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether a header such as `"a", W/"b"` or `*` names the tag.
fn names(header: &HeaderValue, tag: &str) -> bool {
    let header = header.to_str().unwrap_or_default();
    header.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}
