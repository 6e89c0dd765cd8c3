//! Errors as `application/problem+json` (RFC 9457).

use crate::request::Malformed;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use std::collections::BTreeMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The media type of problems.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// As in the response.
    pub(crate) status: u16,
    /// The status in words.
    pub(crate) title: &'static str,
    /// The name of gRPC's code, such as `NOT_FOUND`.
    pub(crate) code: &'static str,
    /// What happened, for people.
    pub(crate) detail: String,
    #[serde(flatten)]
    pub(crate) info: Option<Box<Info>>,
    /// Fields of the request that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) violations: Vec<Violation>,
    /// When to try again, in seconds.
    #[serde(skip)]
    pub(crate) retry_after_s: Option<u64>,
}

/// What happened, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Info {
    /// As adapters and the analyzer name it.
    pub(crate) reason: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) metadata: BTreeMap<String, String>,
}

/// A field of the request that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Violation {
    pub(crate) field: String,
    pub(crate) description: String,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, code: Code, detail: impl Into<String>) -> Self {
        Self {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Error"),
            code: name(code),
            detail: detail.into(),
            info: None,
            violations: Vec::new(),
            retry_after_s: None,
        }
    }
}

impl From<Malformed> for Problem {
    fn from(malformed: Malformed) -> Self {
        let detail = malformed.to_string();
        let violation = Violation { field: malformed.field, description: malformed.what };
        let problem = Self::new(StatusCode::BAD_REQUEST, Code::InvalidArgument, detail);
        Self { violations: vec![violation], ..problem }
    }
}

impl From<&Status> for Problem {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let violations = details.bad_request().map(|request| {
            let violation = |violation: &tonic_types::FieldViolation| Violation {
                field: violation.field.clone(),
                description: violation.description.clone(),
            };
            request.field_violations.iter().map(violation).collect()
        });
        let info = details.error_info().map(|info| Info {
            reason: info.reason.clone(),
            metadata: info.metadata.clone().into_iter().collect(),
        });
        let retry = details.retry_info().and_then(|retry| retry.retry_delay);
        Self {
            info: info.map(Box::new),
            violations: violations.unwrap_or_default(),
            // To wait a little longer than asked for is right, to come early is not.
            retry_after_s: retry.map(|delay| delay.as_secs() + u64::from(delay.subsec_nanos() > 0)),
            ..Self::new(http_status(status.code()), status.code(), status.message())
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response<Body> {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// As `google.rpc.Code` has it, but for FAILED_PRECONDITION: the request is well-formed, and it is the state of what it
/// is about that refuses it.
fn http_status(code: Code) -> StatusCode {
    match code {
        Code::Ok => StatusCode::OK,
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => StatusCode::CONFLICT,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
        Code::Unavailable | Code::Cancelled => StatusCode::SERVICE_UNAVAILABLE,
        Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        Code::Unknown | Code::Internal | Code::DataLoss => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::time::Duration;
    use tonic_types::ErrorDetails;

    #[test]
    fn all_that_a_status_says_is_in_the_problem() {
        let mut details = ErrorDetails::new();
        details.set_error_info("THROTTLED", "isotherm", HashMap::from([("node".into(), "n1".into())]));
        details.set_retry_info(Some(Duration::from_millis(1_200)));
        details.add_bad_request_violation("top", "is too large");
        let status = Status::with_error_details(Code::ResourceExhausted, "too much", details);
        let problem = Problem::from(&status);
        let told = serde_json::to_value(&problem).unwrap();
        assert_eq!((&told["reason"], &told["metadata"]["node"]), (&"THROTTLED".into(), &"n1".into()));
        assert_eq!(told["violations"][0]["field"], "top");
        let response = problem.into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
    }

    #[test]
    fn what_the_state_refuses_is_a_conflict() {
        let problem = Problem::from(&Status::failed_precondition("it is frozen"));
        assert_eq!((problem.status, problem.code), (409, "FAILED_PRECONDITION"));
        assert_eq!(problem.detail, "it is frozen");
    }
}
