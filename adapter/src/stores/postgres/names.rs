//! What things that are made for a migration are called, so that they are found again by its id alone.

use isotherm_migration::MigrationId;
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// Names of one migration's objects. Slots allow lower-case letters, digits and `_` only, and names 63 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    stem: String,
    mark: String,
}

impl Names {
    pub(super) fn of(id: &MigrationId) -> Self {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let id = id.to_string();
        let stem = if id.bytes().all(plain) {
            format!("iso_{id}")
        } else {
            // Other letters would fall together, so what they were goes in as a number.
            let lower: String = id
                .chars()
                .map(|letter| if letter == '-' { '_' } else { letter.to_ascii_lowercase() })
                .collect();
            format!("iso_{lower}_{:08x}", xxh3_64(id.as_bytes()) >> 32)
        };
        Self { stem, mark: format!("isotherm migration {id}") }
    }

    /// Publication and slot on the source, subscription on the target; the router's table for the target.
    pub(super) fn forth(&self) -> &str {
        &self.stem
    }

    /// Publication and slot on the target, subscription on the source: the way back.
    pub(super) fn back(&self) -> String {
        format!("{}_back", self.stem)
    }

    /// The trigger that refuses writes, and its function.
    pub(super) fn fence(&self) -> String {
        format!("{}_fence", self.stem)
    }

    /// The router's table for the source once the target serves.
    pub(super) fn old(&self) -> String {
        format!("{}_old", self.stem)
    }

    /// The comment by which a table is known as made for this migration.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }
}

/// A table, by its schema and name. Shown as SQL writes it, quoted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Table {
    pub(super) schema: String,
    pub(super) name: String,
}

impl Table {
    pub(super) fn new(schema: impl Into<String>, name: impl Into<String>) -> Self {
        Self { schema: schema.into(), name: name.into() }
    }

    /// Another of the same schema.
    pub(super) fn beside(&self, name: &str) -> Self {
        Self::new(&self.schema, name)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", quoted(&self.schema), quoted(&self.name))
    }
}

/// An identifier as SQL takes it.
pub(super) fn quoted(name: &str) -> String {
    postgres_protocol::escape::escape_identifier(name)
}

/// A string as SQL takes it, where no parameter can stand.
pub(super) fn literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text).trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Names, Table, literal};
    use isotherm_migration::MigrationId;

    fn names(id: &str) -> Names {
        Names::of(&MigrationId::new(id).unwrap())
    }

    #[test]
    fn slots_can_be_called_so() {
        assert_eq!(names("m_7").forth(), "iso_m_7");
        let long = names(&"A-".repeat(20));
        assert!(long.fence().len() <= 63, "{}", long.fence());
        assert!(
            long.back()
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        );
        assert_ne!(names("a-b").forth(), names("A-b").forth());
        assert_ne!(names("a-b").forth(), names("a_b").forth());
    }

    #[test]
    fn names_are_quoted() {
        assert_eq!(Table::new("a b", "c\"d").to_string(), "\"a b\".\"c\"\"d\"");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
