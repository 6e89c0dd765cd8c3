//! The message that a request means: fields from its path, its query and its body. Nothing that it says is left out:
//! what no field is, or a parameter that is said twice, is refused by name.

use crate::binding::Binding;
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor};
use serde::Deserializer;
use serde_json::{Map, Value};

/// The query's own parameter: which fields of the answer are wanted.
pub(crate) const FIELDS: &str = "fields";

/// Why a request means no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {what}")]
pub(crate) struct Malformed {
    /// The path of the field; `body` where it is about all of it.
    pub(crate) field: String,
    pub(crate) what: String,
}

impl Malformed {
    pub(crate) fn new(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self { field: field.into(), what: what.into() }
    }
}

/// Puts the message together. `variables` are those of the path; `query` is without its question mark.
pub(crate) fn message(
    binding: &Binding,
    variables: Vec<(String, String)>,
    query: &str,
    body: &[u8],
) -> Result<DynamicMessage, Malformed> {
    let input = binding.method.input();
    let parameters = parameters(query);
    let mut message = if binding.has_body {
        if let Some((name, _)) = parameters.first() {
            let what = "a request with a body has its fields there, not in the query";
            return Err(Malformed::new(name, what));
        }
        from_body(&input, body)?
    } else if body.is_empty() {
        from_parameters(&input, nested(&input, parameters)?)?
    } else {
        return Err(Malformed::new("body", "this request has none; fields belong into the query"));
    };
    for (name, value) in variables {
        let set = from_parameters(&input, Map::from_iter([(name.clone(), Value::String(value))]))?;
        let Some(field) = input.get_field_by_name(&name) else { continue };
        if message.has_field(&field) && message.get_field(&field) != set.get_field(&field) {
            return Err(Malformed::new(name, "the path says something else"));
        }
        message.set_field(&field, set.get_field(&field).into_owned());
    }
    Ok(message)
}

/// All that is said once by the query, without what is about the answer.
fn parameters(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes()).into_owned().filter(|(name, _)| name != FIELDS).collect()
}

fn from_body(input: &MessageDescriptor, body: &[u8]) -> Result<DynamicMessage, Malformed> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(DynamicMessage::new(input.clone()));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let message = deserialized(input, &mut json)?;
    json.end().map_err(|error| Malformed::new("body", error.to_string()))?;
    Ok(message)
}

/// As from a body, but a value that does not fit is told, as it stands in no file that one could look into.
fn from_parameters(
    input: &MessageDescriptor,
    parameters: Map<String, Value>,
) -> Result<DynamicMessage, Malformed> {
    let parameters = Value::Object(parameters);
    deserialized(input, &parameters).map_err(|malformed| {
        let pointer = format!("/{}", malformed.field.replace(['.', '['], "/").replace(']', ""));
        match parameters.pointer(&pointer) {
            Some(value) => Malformed { what: format!("{value} is none: {}", malformed.what), ..malformed },
            None => malformed,
        }
    })
}

fn deserialized<'de, D>(input: &MessageDescriptor, json: D) -> Result<DynamicMessage, Malformed>
where
    D: Deserializer<'de>,
    D::Error: std::fmt::Display,
{
    let mut track = serde_path_to_error::Track::new();
    let json = serde_path_to_error::Deserializer::new(json, &mut track);
    DynamicMessage::deserialize(input.clone(), json).map_err(|error| {
        let path = track.path().to_string();
        let field = if path == "." { "body".to_owned() } else { path };
        Malformed::new(field, error.to_string())
    })
}

/// Parameters as the object that a body would be: `a.b=1` is `{"a": {"b": "1"}}`, and what is repeated is a list.
fn nested(
    input: &MessageDescriptor,
    parameters: Vec<(String, String)>,
) -> Result<Map<String, Value>, Malformed> {
    let mut object = Map::new();
    for (name, value) in parameters {
        insert(&mut object, input, &name, &name, value)?;
    }
    Ok(object)
}

fn insert(
    object: &mut Map<String, Value>,
    message: &MessageDescriptor,
    path: &str,
    rest: &str,
    value: String,
) -> Result<(), Malformed> {
    let (name, inner) = rest.split_once('.').map_or((rest, None), |(name, inner)| (name, Some(inner)));
    let Some(field) = message.get_field_by_name(name) else {
        let known: Vec<_> = message.fields().map(|field| field.name().to_owned()).collect();
        let what = match known.as_slice() {
            [] => "this request has no parameters".to_owned(),
            known => format!("no such parameter; there are {}", known.join(", ")),
        };
        return Err(Malformed::new(path, what));
    };
    match (field.kind(), inner) {
        (Kind::Message(inside), Some(inner)) if !field.is_list() && !field.is_map() => {
            let slot = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            match slot {
                Value::Object(slot) => insert(slot, &inside, path, inner, value),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                    Err(Malformed::new(path, "it is said twice"))
                }
            }
        }
        (Kind::Message(inside), None) if !inside.full_name().starts_with("google.protobuf.") => {
            Err(Malformed::new(path, "it has fields of its own: say them as parent.child"))
        }
        (_, Some(_)) => Err(Malformed::new(path, "it has no fields of its own")),
        (kind, None) => {
            let value = match (kind, value.as_str()) {
                (Kind::Bool, "true") => Value::Bool(true),
                (Kind::Bool, "false") => Value::Bool(false),
                _ => Value::String(value),
            };
            if field.is_list() {
                let slot = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(items) = slot {
                    items.push(value);
                }
                Ok(())
            } else if object.insert(name.to_owned(), value).is_some() {
                Err(Malformed::new(path, "it is said twice"))
            } else {
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
