//! How names of partitions and nodes are kept: as system and name, and checked again when they are read.

macro_rules! kept {
    ($module:ident, $id:ident) => {
        pub(crate) mod $module {
            use isotherm_model::{SystemId, $id};
            use serde::de::Error;
            use serde::{Deserialize, Deserializer, Serialize, Serializer};

            pub(crate) fn serialize<S: Serializer>(id: &$id, to: S) -> Result<S::Ok, S::Error> {
                (id.system().as_str(), id.name()).serialize(to)
            }

            pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<$id, D::Error> {
                let (system, name) = <(String, String)>::deserialize(from)?;
                let system = SystemId::new(system).map_err(Error::custom)?;
                $id::new(system, name).map_err(Error::custom)
            }
        }
    };
}

kept!(node, NodeId);
kept!(partition, PartitionId);
