//! Field masks: which fields of an answer are wanted.

use crate::request::Malformed;
use prost_reflect::{Kind, MessageDescriptor};
use serde_json::Value;
use std::collections::BTreeMap;

/// Wanted fields, and of each that has some of its own, which of these. Empty: all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Mask(BTreeMap<String, Mask>);

impl Mask {
    /// Reads comma-separated paths such as `nodes.name,nodes.state`, which reach through lists.
    pub(crate) fn parse(text: &str, message: &MessageDescriptor) -> Result<Self, Malformed> {
        let mut mask = Self::default();
        for path in text.split(',') {
            mask.add(path, message).map_err(|what| Malformed::new(crate::request::FIELDS, what))?;
        }
        Ok(mask)
    }

    fn add(&mut self, path: &str, message: &MessageDescriptor) -> Result<(), String> {
        let (name, inner) = path.split_once('.').map_or((path, None), |(name, inner)| (name, Some(inner)));
        let Some(field) = message.get_field_by_name(name) else {
            let known: Vec<_> = message.fields().map(|field| field.name().to_owned()).collect();
            return Err(format!("{} has no field {name:?}; it has {}", message.name(), known.join(", ")));
        };
        let known = self.0.contains_key(name);
        let below = self.0.entry(name.to_owned()).or_default();
        match (inner, field.kind()) {
            // All of it is wanted, whatever else is said.
            (None, _) => *below = Self::default(),
            (Some(_), _) if known && below.0.is_empty() => {}
            (Some(inner), Kind::Message(message)) if !field.is_map() => below.add(inner, &message)?,
            (Some(_), _) => return Err(format!("{name} of {} has no fields of its own", message.name())),
        }
        Ok(())
    }

    /// Whether all is wanted.
    pub(crate) fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes what is not wanted from the JSON of a message.
    pub(crate) fn apply(&self, json: &mut Value) {
        match json {
            _ if self.is_all() => {}
            Value::Array(items) => items.iter_mut().for_each(|item| self.apply(item)),
            Value::Object(fields) => {
                fields.retain(|name, _| self.0.contains_key(name));
                for (name, value) in fields {
                    if let Some(below) = self.0.get(name) {
                        below.apply(value);
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_reflect::DescriptorPool;
    use serde_json::json;

    fn mask(text: &str) -> Result<Mask, Malformed> {
        let pool = DescriptorPool::decode(isotherm_proto::DESCRIPTORS).unwrap();
        let message = pool.get_message_by_name("isotherm.control.v1.ListNodesResponse").unwrap();
        Mask::parse(text, &message)
    }

    #[test]
    fn only_what_is_wanted_stays() {
        let all =
            json!({"nodes": [{"name": "a", "total": {"reads": 1, "writes": 2}, "lost": 0}, {"name": "b"}]});
        let cases = [
            ("nodes", all.clone()),
            ("nodes.name", json!({"nodes": [{"name": "a"}, {"name": "b"}]})),
            (
                "nodes.name,nodes.total.reads",
                json!({"nodes": [{"name": "a", "total": {"reads": 1}}, {"name": "b"}]}),
            ),
            ("nodes.name,nodes", all.clone()),
            ("nodes,nodes.name", all.clone()),
        ];
        for (text, expected) in cases {
            let mut json = all.clone();
            mask(text).unwrap().apply(&mut json);
            assert_eq!(json, expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_field_is_refused_with_those_there_are() {
        let cases = [
            ("node", "ListNodesResponse has no field \"node\"; it has nodes"),
            ("", "no field \"\""),
            ("nodes.names", "Node has no field \"names\""),
            ("nodes.name.x", "name of Node has no fields of its own"),
        ];
        for (text, what) in cases {
            let refused = mask(text).unwrap_err();
            assert_eq!(refused.field, "fields");
            assert!(refused.what.contains(what), "{refused}");
        }
    }
}
