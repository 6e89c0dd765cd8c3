//! OpenAPI 3.1, written from the rules and the comments of the contracts.

mod schema;

use crate::About;
use crate::binding::Binding;
use crate::comments::Commented;
use axum::http::Method;
use prost_reflect::{FieldDescriptor, MessageDescriptor};
use schema::Schemas;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The document.
pub(crate) fn document(bindings: &[Binding], about: About<'_>) -> Value {
    let schemas = Schemas::of(bindings);
    let mut tags = BTreeMap::new();
    let mut paths: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    let mut told = BTreeMap::<String, u32>::new();
    for binding in bindings {
        let service = binding.method.parent_service();
        tags.entry(service.name().to_owned()).or_insert_with(|| service.comment());
        let times = told.entry(binding.method.full_name().to_owned()).or_default();
        *times += 1;
        let id = match *times {
            1 => format!("{}_{}", service.name(), binding.method.name()),
            more => format!("{}_{}_{more}", service.name(), binding.method.name()),
        };
        let verb = binding.verb.as_str().to_ascii_lowercase();
        let path = paths.entry(binding.template.openapi()).or_default();
        path.insert(verb, operation(binding, &id));
    }
    let tags: Vec<_> =
        tags.into_iter().map(|(name, comment)| json!({"name": name, "description": comment})).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": about.title,
            "version": about.version,
            "description": about.description,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": tags,
        "paths": paths,
        "components": {"schemas": schemas.all()},
    })
}

fn operation(binding: &Binding, id: &str) -> Value {
    let comment = binding.method.comment();
    let summary = comment.split_once(". ").map_or(comment.as_str(), |(first, _)| first);
    let mut operation = json!({
        "operationId": id,
        "tags": [binding.method.parent_service().name()],
        "summary": summary.trim_end_matches('.'),
        "description": comment,
        "parameters": parameters(binding),
        "responses": responses(binding),
    });
    if binding.has_body {
        operation["requestBody"] = json!({
            "required": true,
            "content": {"application/json": {"schema": schema::reference(&binding.method.input())}},
        });
    }
    operation
}

fn parameters(binding: &Binding) -> Vec<Value> {
    let input = binding.method.input();
    let in_path: Vec<&str> = binding.template.fields().collect();
    let mut parameters = Vec::new();
    for field in input.fields() {
        if in_path.contains(&field.name()) {
            parameters.push(json!({
                "name": field.name(),
                "in": "path",
                "required": true,
                "description": field.comment(),
                "schema": schema::of(&field),
            }));
        } else if !binding.has_body {
            query_parameters(&field, field.name(), &mut parameters);
        }
    }
    if binding.raw.is_none() {
        parameters.push(json!({
            "name": crate::request::FIELDS,
            "in": "query",
            "description": "Which fields of the answer are wanted, as paths with commas between them, such as \
                            `a,b.c`; all without it.",
            "schema": {"type": "string"},
        }));
    }
    parameters
}

/// A field as a parameter; one that has fields of its own as one for each of them.
fn query_parameters(field: &FieldDescriptor, name: &str, parameters: &mut Vec<Value>) {
    let kind = field.kind();
    let inside = kind.as_message().filter(|message| !field.is_list() && !schema::is_well_known(message));
    if let Some(message) = inside {
        for inner in message.fields() {
            query_parameters(&inner, &format!("{name}.{}", inner.name()), parameters);
        }
    } else {
        parameters.push(json!({
            "name": name,
            "in": "query",
            "description": field.comment(),
            "schema": schema::of(field),
        }));
    }
}

fn responses(binding: &Binding) -> Value {
    let output: MessageDescriptor = binding.method.output();
    let schema = schema::reference(&output);
    let content = match (&binding.raw, binding.method.is_server_streaming()) {
        (Some(_), _) => json!({"application/octet-stream": {}}),
        (None, true) => json!({
            "application/x-ndjson": {"schema": schema},
            "text/event-stream": {"schema": schema},
        }),
        (None, false) => json!({"application/json": {"schema": schema}}),
    };
    let mut responses = json!({
        "200": {"description": "Done", "content": content},
        "default": {
            "description": "What went wrong",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        },
    });
    if binding.verb == Method::GET && !binding.method.is_server_streaming() {
        responses["200"]["headers"] = json!({"ETag": {"schema": {"type": "string"}}});
        responses["304"] = json!({"description": "The caller has it already, as If-None-Match says"});
    }
    responses
}

#[cfg(test)]
mod tests;
