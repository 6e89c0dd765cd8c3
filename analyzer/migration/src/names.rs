//! How names of partitions and nodes are kept: as system and name, and checked again when they are read.

macro_rules! kept {
    ($(#[$doc:meta])* $module:ident, $id:ident) => {
        $(#[$doc])*
        pub mod $module {
            use isotherm_model::{SystemId, $id};
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            /// Writes it.
            ///
            /// # Errors
            /// Whatever is written to refuses.
            pub fn serialize<S: Serializer>(id: &$id, to: S) -> Result<S::Ok, S::Error> {
                (id.system().as_str(), id.name()).serialize(to)
            }

            /// Reads it.
            ///
            /// # Errors
            /// What is there is no such name.
            pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$id, D::Error> {
                let (system, name) = <(String, String)>::deserialize(from)?;
                let system = SystemId::new(system).map_err(Error::custom)?;
                $id::new(system, name).map_err(Error::custom)
            }
        }
    };
}

kept!(
    /// For `#[serde(with)]` of a node.
    node,
    NodeId
);
kept!(
    /// For `#[serde(with)]` of a partition.
    partition,
    PartitionId
);
