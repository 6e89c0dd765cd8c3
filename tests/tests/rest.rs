//! The control API as REST, asked over HTTP/1.1 of the real analyzer: the same answers as by gRPC, problems that name
//! what is wrong, and no way in for pages of other sites.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use isotherm_proto::control::v1::migration_service_client::MigrationServiceClient;
use isotherm_proto::control::v1::{ListDiaryRequest, ListNodesRequest};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use support::analyzer::Analyzer;
use support::command::{deliver, seconds};
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};

/// A caller that takes errors for answers.
struct Caller {
    http: Agent,
    url: String,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Caller {
    fn of(analyzer: &Analyzer) -> Self {
        let http = Agent::config_builder().http_status_as_error(false).build().into();
        Self { http, url: analyzer.url.clone() }
    }

    fn get(&self, path: &str) -> Answer {
        self.get_with(path, &[])
    }

    fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        answer(self.open(path, headers))
    }

    fn open(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        let request = self.http.get(format!("{}{path}", self.url));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).call().unwrap()
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_as("application/json", path, &body.to_string())
    }

    fn post_as(&self, kind: &str, path: &str, body: &str) -> Answer {
        let request = self.http.post(format!("{}{path}", self.url)).header("content-type", kind);
        answer(request.send(body).unwrap())
    }
}

fn answer(response: Response<Body>) -> Answer {
    let (parts, mut body) = response.into_parts();
    Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.read_to_vec().unwrap() }
}

fn started() -> (tempfile::TempDir, Analyzer, Caller) {
    let dir = tempfile::tempdir().unwrap();
    let analyzer = Analyzer::start(&dir.path().join("data"), dir.path()).unwrap();
    let caller = Caller::of(&analyzer);
    (dir, analyzer, caller)
}

#[tokio::test]
async fn what_is_told_is_what_grpc_tells() {
    let (_dir, analyzer, caller) = started();
    deliver(&analyzer, &seconds(59 * 60, 120), 10).await;
    let told = caller.get("/v1/nodes?since_ms=1");
    assert_eq!((told.status, told.header("content-type")), (200, "application/json"));
    let mut control = analyzer.control().await.unwrap();
    let request = ListNodesRequest { since_ms: 1, until_ms: 0 };
    let nodes = control.list_nodes(request).await.unwrap().into_inner().nodes;
    let told = told.json();
    assert_eq!(told["nodes"].as_array().unwrap().len(), nodes.len());
    for (told, node) in told["nodes"].as_array().unwrap().iter().zip(&nodes) {
        assert_eq!(told["name"], node.name);
        assert_eq!(told["total"]["reads"].as_u64(), node.total.as_ref().map(|total| total.reads));
        assert_eq!(told["state"], "NODE_STATE_SILENT");
        // What the topology does not say is absent, and not 0.
        assert_eq!((told.get("capacity_bytes"), node.capacity_bytes), (None, None));
        assert_eq!(told["lost"], node.lost);
    }
    let named = caller.get("/v1/nodes?since_ms=1&fields=nodes.name").json();
    assert_eq!(
        named,
        json!({"nodes": nodes.iter().map(|node| json!({"name": node.name})).collect::<Vec<_>>()})
    );
    let answered = caller.post("/v1/query", &json!({"sql": "SELECT 1 AS a", "format": "QUERY_FORMAT_JSONL"}));
    assert_eq!((answered.status, answered.json()), (200, json!({"a": 1})));
}

#[tokio::test]
async fn what_is_done_is_done_and_in_the_diary() {
    let (_dir, analyzer, caller) = started();
    let done = caller.post("/v1/freeze", &json!({"who": "ops", "reason": "a try"}));
    assert_eq!((done.status, &done.json()["freeze"]["who"]), (200, &json!("ops")));
    assert_eq!(caller.get("/v1/migrations").json()["freeze"]["reason"], "a try");
    assert_eq!(caller.post("/v1/freeze:lift", &json!({"who": "ops", "reason": "over"})).status, 200);
    assert_eq!(
        caller.get("/v1/migrations").json().get("freeze").and_then(|freeze| freeze.get("since_ms")),
        None
    );
    let mut migrations = MigrationServiceClient::connect(analyzer.url.clone()).await.unwrap();
    let lines = migrations.list_diary(ListDiaryRequest::default()).await.unwrap().into_inner().lines;
    let said: Vec<_> = lines.iter().map(|line| (line.who.as_str(), line.what.as_str())).collect();
    assert_eq!(said, [("ops", "freeze"), ("ops", "unfreeze")]);
}

#[test]
fn problems_say_what_is_wrong_and_where() {
    let (_dir, _analyzer, caller) = started();
    let cases = [
        (caller.get("/v1/migrations/none"), 404, "NOT_FOUND", "no migration"),
        (caller.get("/v1/partitions/sw/3:explain"), 404, "NOT_FOUND", "sw/3"),
        (caller.get("/v1/nothing"), 404, "NOT_FOUND", "/openapi.json"),
        (caller.get("/nothing"), 404, "NOT_FOUND", "/openapi.json"),
        (caller.get("/v1/freeze"), 405, "UNIMPLEMENTED", "POST"),
        (caller.get("/v1/risks?top=-1"), 400, "INVALID_ARGUMENT", "top: \"-1\""),
        (caller.get("/v1/risks?fields=recrods"), 400, "INVALID_ARGUMENT", "records"),
        (caller.get("/v1/nodes?since_ms=9&until_ms=8"), 400, "INVALID_ARGUMENT", "since_ms"),
        (caller.post("/v1/freeze", &json!({"whoo": "me"})), 400, "INVALID_ARGUMENT", "whoo"),
        (caller.post("/v1/query", &json!({"sql": "DROP TABLE x"})), 400, "INVALID_ARGUMENT", ""),
        (
            caller.post("/v1/migrations", &json!({"partition": "sw/3", "target": "b"})),
            404,
            "NOT_FOUND",
            "sw/3",
        ),
        (caller.post_as("text/plain", "/v1/freeze", "{}"), 415, "INVALID_ARGUMENT", "application/json"),
    ];
    for (answer, status, code, detail) in cases {
        let problem = answer.json();
        assert_eq!((answer.status, &problem["code"]), (status, &json!(code)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(detail), "{problem}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_ne!(answer.header("x-request-id"), "");
    }
    let refused = caller.get("/v1/risks?top=-1").json();
    assert_eq!(refused["violations"][0]["field"], "top");
    assert_eq!(caller.get("/v1/freeze").header("allow"), "POST");
    let large = format!(r#"{{"sql": "{}"}}"#, "x".repeat(17 << 20));
    assert_eq!(caller.post_as("application/json", "/v1/query", &large).status, 413);
}

#[test]
fn an_answer_that_the_caller_has_is_not_told_again() {
    let (_dir, _analyzer, caller) = started();
    let first = caller.get_with("/v1/hazards", &[("x-request-id", "mine")]);
    assert_eq!(first.header("x-request-id"), "mine");
    let tag = first.header("etag");
    let again = caller.get_with("/v1/hazards", &[("if-none-match", tag)]);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag));
    assert_eq!(caller.get_with("/v1/hazards", &[("if-none-match", "\"other\"")]).status, 200);
}

#[test]
fn pages_of_other_sites_get_nothing() {
    let (_dir, _analyzer, caller) = started();
    let refused = caller.get_with("/v1/nodes", &[("host", "evil.example")]);
    assert_eq!((refused.status, refused.header("content-type")), (421, "application/problem+json"));
    // An empty message, as a page may send it without asking.
    for kind in ["text/plain", "application/grpc"] {
        let frame = "\0\0\0\0\0";
        let refused = caller.post_as(kind, "/isotherm.control.v1.MigrationService/Freeze", frame);
        assert_eq!(refused.status, 415, "{kind}");
    }
    assert!(
        caller
            .get("/v1/migrations")
            .json()
            .get("freeze")
            .is_none_or(|freeze| freeze.get("since_ms").is_none())
    );
    let answer = caller.get_with("/v1/nodes", &[("origin", "http://evil.example")]);
    assert_eq!(answer.header("access-control-allow-origin"), "");
    assert_eq!(answer.header("x-content-type-options"), "nosniff");
}

#[test]
fn openapi_names_every_method_with_a_rule() {
    let (_dir, _analyzer, caller) = started();
    let document = caller.get("/openapi.json").json();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    for path in ["/v1/nodes", "/v1/partitions/{partition}:explain", "/v1/migrations/{id}:act", "/v1/plans"] {
        assert!(paths.contains_key(path), "{path}");
    }
    // Whatever takes no parameters that have to be given is answered as it stands.
    for (path, operations) in paths {
        let parameters = operations["get"]["parameters"].as_array();
        let bare = parameters.is_some_and(|all| all.iter().all(|one| one["required"] != true));
        if bare && path != "/v1/plans:diff" {
            let answer = caller.get(path);
            assert_eq!(answer.status, 200, "{path}: {}", answer.json());
        }
    }
}

#[test]
fn a_stream_is_told_as_events_or_as_lines() {
    let (_dir, _analyzer, caller) = started();
    for accept in ["text/event-stream", "*/*"] {
        let refused = caller.get_with("/v1/migrations/none:watch", &[("accept", accept)]);
        assert_eq!((refused.status, refused.json()["code"].as_str()), (404, Some("NOT_FOUND")));
    }
    // A query's answer is a stream as well, told as the bytes that it carries.
    let rows = "SELECT 1 AS a UNION ALL SELECT 2 AS a";
    let request =
        caller.http.post(format!("{}/v1/query", caller.url)).header("content-type", "application/json");
    let body = json!({"sql": rows, "format": "QUERY_FORMAT_JSONL"}).to_string();
    let answer = request.send(body).unwrap().into_body();
    let lines: Vec<Value> = BufReader::new(answer.into_reader())
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
}
