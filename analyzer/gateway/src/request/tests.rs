use super::*;
use crate::binding::bindings;
use crate::template::Matched;
use axum::http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;
use prost_reflect::DescriptorPool;
use serde_json::json;
use std::sync::LazyLock;

fn said(verb: &Method, path: &str, query: &str, body: &str) -> Result<Value, Malformed> {
    static BINDINGS: LazyLock<Vec<Binding>> = LazyLock::new(|| {
        let pool = DescriptorPool::decode(isotherm_proto::DESCRIPTORS).unwrap();
        bindings(&pool).unwrap()
    });
    let found = BINDINGS.iter().filter(|binding| binding.verb == *verb).find_map(|binding| {
        match binding.template.matches(path) {
            Matched::Yes(variables) => Some((binding, variables)),
            Matched::No | Matched::NotText(_) => None,
        }
    });
    let (binding, variables) = found.unwrap();
    let message = message(binding, variables, query, body.as_bytes())?;
    let options = prost_reflect::SerializeOptions::new().use_proto_field_name(true);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options).unwrap())
}

fn get(path: &str, query: &str) -> Result<Value, Malformed> {
    said(&Method::GET, path, query, "")
}

fn post(path: &str, body: &str) -> Result<Value, Malformed> {
    said(&Method::POST, path, "", body)
}

#[test]
fn the_query_sets_fields_of_every_kind() {
    assert_eq!(get("/v1/risks", "").unwrap(), json!({}));
    let found = get("/v1/risks", "top=7&order=RISK_ORDER_LOSS&partition=sw%2F3&fields=records").unwrap();
    assert_eq!(found, json!({"top": 7, "order": "RISK_ORDER_LOSS", "partition": "sw/3"}));
    assert_eq!(get("/v1/hazards", "all=true").unwrap(), json!({"all": true}));
    let found = get("/v1/nodes", "since_ms=18446744073709551615").unwrap();
    assert_eq!(found, json!({"since_ms": "18446744073709551615"}));
}

#[test]
fn the_path_sets_what_it_names() {
    let found = get("/v1/partitions/sw/3:explain", "").unwrap();
    assert_eq!(found, json!({"partition": "sw/3"}));
    let found = post("/v1/migrations/ab:act", r#"{"action": "MIGRATION_ACTION_PAUSE", "id": "ab"}"#).unwrap();
    assert_eq!(found, json!({"id": "ab", "action": "MIGRATION_ACTION_PAUSE"}));
    let refused = post("/v1/migrations/ab:act", r#"{"id": "cd"}"#).unwrap_err();
    assert_eq!(refused.field, "id");
}

#[test]
fn what_is_no_field_is_refused_by_name() {
    let cases = [
        (get("/v1/risks", "tops=7"), "tops", "there are top, order, partition"),
        (get("/v1/risks", "top=7&top=8"), "top", "said twice"),
        (get("/v1/risks", "top=many"), "top", "many"),
        (get("/v1/risks", "top=-1"), "top", "-1"),
        (get("/v1/risks", "order=BEST"), "order", "BEST"),
        (get("/v1/risks", "order.x=1"), "order.x", "no fields of its own"),
        (get("/v1/hazards", "all=maybe"), "all", "maybe"),
        (get("/v1/cycle", "top=1"), "top", "no parameters"),
        (post("/v1/freeze", r#"{"whoo": "me"}"#), "body", "'whoo' at line 1 column 7"),
        (post("/v1/freeze", r#"{"who": 7}"#), "who", "7"),
        (post("/v1/freeze", "[]"), "body", "map"),
        (post("/v1/freeze", r#"{"who": "a"} x"#), "body", "trailing"),
        (
            post("/v1/failures:import", r#"{"intervals": [{"from_ms": "x"}]}"#),
            "intervals[0].from_ms",
            "digit",
        ),
        (said(&Method::POST, "/v1/freeze", "who=me", "{}"), "who", "not in the query"),
        (said(&Method::GET, "/v1/risks", "", "{}"), "body", "has none"),
    ];
    for (said, field, what) in cases {
        let refused = said.unwrap_err();
        assert_eq!(refused.field, field, "{refused}");
        assert!(refused.what.contains(what), "{refused}");
    }
}

proptest! {
    #[test]
    fn nothing_is_too_strange(query in ".{0,60}", body in ".{0,60}", path in "[^/]{1,20}") {
        let path = utf8_percent_encode(&path, NON_ALPHANUMERIC);
        let _ = get(&format!("/v1/partitions/{path}:explain"), &query);
        let _ = post("/v1/failures:import", &body);
    }
}
