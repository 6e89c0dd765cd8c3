//! Messages and enums as schemas.

use crate::binding::Binding;
use crate::comments::Commented;
use prost_reflect::{EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// All that requests and answers are made of.
#[derive(Debug, Default)]
pub(super) struct Schemas {
    /// By name, with whether requests have it: they may leave fields out, and may have no others.
    messages: BTreeMap<String, (MessageDescriptor, bool)>,
    enums: BTreeMap<String, EnumDescriptor>,
}

impl Schemas {
    pub(super) fn of(bindings: &[Binding]) -> Self {
        let mut schemas = Self::default();
        for binding in bindings {
            schemas.add(&binding.method.output(), false);
        }
        for binding in bindings {
            if binding.has_body {
                schemas.add(&binding.method.input(), true);
            } else {
                schemas.add_enums(&binding.method.input());
            }
        }
        schemas
    }

    fn add(&mut self, message: &MessageDescriptor, asked: bool) {
        let known = self.messages.get(message.name()).map(|(_, asked)| *asked);
        if is_well_known(message) || known == Some(true) || known == Some(asked) {
            return;
        }
        self.messages.insert(message.name().to_owned(), (message.clone(), asked));
        for field in message.fields() {
            let kind = field.kind();
            if let Some(inner) = kind.as_message() {
                self.add(inner, asked);
            } else if let Some(inner) = kind.as_enum() {
                self.enums.insert(inner.name().to_owned(), inner.clone());
            }
        }
    }

    /// Of parameters, which are told one by one.
    fn add_enums(&mut self, message: &MessageDescriptor) {
        for field in message.fields() {
            let kind = field.kind();
            if let Some(inner) = kind.as_message().filter(|inner| !is_well_known(inner)) {
                self.add_enums(inner);
            } else if let Some(inner) = kind.as_enum() {
                self.enums.insert(inner.name().to_owned(), inner.clone());
            }
        }
    }

    pub(super) fn all(&self) -> Map<String, Value> {
        let messages = self.messages.values().map(|(message, asked)| {
            let fields = message.fields().map(|field| (field.name().to_owned(), described(&field)));
            let mut schema = json!({
                "type": "object",
                "description": message.comment(),
                "properties": Map::from_iter(fields),
            });
            if *asked {
                schema["additionalProperties"] = false.into();
            } else {
                let told = message.fields().filter(|field| !field.supports_presence());
                schema["required"] = told.map(|field| field.name().to_owned()).collect();
            }
            (message.name().to_owned(), schema)
        });
        let enums = self.enums.values().map(|an_enum| (an_enum.name().to_owned(), enumeration(an_enum)));
        messages.chain(enums).chain([("Problem".to_owned(), problem())]).collect()
    }
}

/// A message of protobuf itself, which JSON has in a form of its own.
pub(super) fn is_well_known(message: &MessageDescriptor) -> bool {
    message.package_name() == "google.protobuf"
}

/// Where a message's schema is.
pub(super) fn reference(message: &MessageDescriptor) -> Value {
    json!({"$ref": format!("#/components/schemas/{}", message.name())})
}

/// The schema of a field's values.
pub(super) fn of(field: &FieldDescriptor) -> Value {
    if field.is_map() {
        return json!({"type": "object"});
    }
    let one = match field.kind() {
        Kind::Double | Kind::Float => json!({"type": "number"}),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => integer(i32::MIN.into(), i32::MAX.into()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => integer(i64::MIN.into(), i64::MAX.into()),
        Kind::Uint32 | Kind::Fixed32 => integer(0.into(), u32::MAX.into()),
        Kind::Uint64 | Kind::Fixed64 => integer(0.into(), u64::MAX.into()),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::String => json!({"type": "string"}),
        Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
        Kind::Message(message) if is_well_known(&message) => json!({}),
        Kind::Message(message) => reference(&message),
        Kind::Enum(an_enum) => json!({"$ref": format!("#/components/schemas/{}", an_enum.name())}),
    };
    if field.is_list() { json!({"type": "array", "items": one}) } else { one }
}

fn described(field: &FieldDescriptor) -> Value {
    let mut schema = of(field);
    let comment = field.comment();
    if !comment.is_empty() {
        schema["description"] = comment.into();
    }
    schema
}

fn integer(least: Value, most: Value) -> Value {
    json!({"type": "integer", "minimum": least, "maximum": most})
}

fn enumeration(an_enum: &EnumDescriptor) -> Value {
    let names: Vec<_> = an_enum.values().map(|value| value.name().to_owned()).collect();
    let comments = an_enum.values().map(|value| (value.name().to_owned(), value.comment()));
    let mut words: Vec<_> =
        Some(an_enum.comment()).filter(|comment| !comment.is_empty()).into_iter().collect();
    words.extend(
        comments
            .filter(|(_, comment)| !comment.is_empty())
            .map(|(name, comment)| format!("- `{name}`: {comment}")),
    );
    json!({"type": "string", "enum": names, "description": words.join("\n")})
}

/// As [`Problem`](crate::problem::Problem) is told.
fn problem() -> Value {
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "required": ["status", "title", "code", "detail"],
        "properties": {
            "status": {"type": "integer", "description": "The HTTP status."},
            "title": {"type": "string", "description": "The status in words."},
            "code": {"type": "string", "description": "The name of gRPC's code, such as `NOT_FOUND`."},
            "detail": {"type": "string", "description": "What happened, for people."},
            "reason": {"type": "string", "description": "What happened, for programs."},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "violations": {
                "type": "array",
                "description": "Fields of the request that are wrong.",
                "items": {
                    "type": "object",
                    "required": ["field", "description"],
                    "properties": {"field": {"type": "string"}, "description": {"type": "string"}},
                },
            },
        },
    })
}
