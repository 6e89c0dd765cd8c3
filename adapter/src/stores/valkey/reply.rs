//! Replies, which are lists of names and values, by name.

use redis::Value;
use std::collections::HashMap;

/// A reply that is not what the command answers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot make sense of the answer: {0}")]
pub(super) struct Unread(pub(super) &'static str);

/// A reply of names and values.
pub(super) struct Fields<'a>(HashMap<&'a str, &'a Value>);

impl<'a> Fields<'a> {
    pub(super) fn of(value: &'a Value) -> Result<Self, Unread> {
        let pairs = value.as_map_iter().ok_or(Unread("no list of names and values"))?;
        Ok(Self(pairs.filter_map(|(name, value)| Some((text(name)?, value))).collect()))
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).copied()
    }

    pub(super) fn text(&self, name: &'static str) -> Result<&'a str, Unread> {
        self.get(name).and_then(text).ok_or(Unread(name))
    }

    pub(super) fn number<T: TryFrom<i64>>(&self, name: &str) -> Option<T> {
        number(self.get(name)?)
    }

    pub(super) fn list(&self, name: &'static str) -> Result<&'a [Value], Unread> {
        self.get(name).and_then(Value::as_sequence).ok_or(Unread(name))
    }
}

/// A text.
pub(super) fn text(value: &Value) -> Option<&str> {
    if let Value::BulkString(bytes) = value {
        return std::str::from_utf8(bytes).ok();
    }
    if let Value::SimpleString(text) = value {
        return Some(text);
    }
    None
}

/// A number.
pub(super) fn number<T: TryFrom<i64>>(value: &Value) -> Option<T> {
    let number = if let Value::Int(number) = value { *number } else { text(value)?.parse().ok()? };
    T::try_from(number).ok()
}

/// The value of a line `name:value`, as INFO has them.
pub(super) fn line<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}
