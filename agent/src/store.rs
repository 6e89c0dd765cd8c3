//! Storage systems that `top` knows without configuration, SeaweedFS first.

use crate::discovery::Selector;
use crate::rule::Rule;
use regex::Regex;

/// How to recognise a store's processes, and which of their files are partitions.
pub struct KnownStore {
    /// The name used for the system.
    pub system: &'static str,
    exe: &'static str,
    cmdline: &'static str,
    /// Pairs of path and partition, as in the configuration.
    rules: &'static [(&'static str, &'static str)],
}

/// In the order in which they are tried.
pub const KNOWN: &[KnownStore] = &[
    KnownStore {
        system: "seaweedfs",
        exe: r"/weed$",
        cmdline: r"\s(volume|server|mini)(\s|$)",
        rules: &[(r"/(?:[^/]+_)?(?P<volume>\d+)\.dat$", "$volume")],
    },
    KnownStore {
        system: "postgresql",
        exe: r"/postgres$",
        cmdline: "",
        // Only what misses shared_buffers is read from the files: a lower bound.
        rules: &[(
            r"/base/(?P<database>\d+)/(?P<relation>\d+)(?:_\w+)?(?:\.\d+)?$",
            "${database}/${relation}",
        )],
    },
    KnownStore { system: "valkey", exe: r"/(valkey|redis)-server$", cmdline: "", rules: &[] },
    KnownStore {
        system: "nats",
        exe: r"/nats-server$",
        cmdline: "",
        rules: &[(r"/streams/(?P<stream>[^/]+)/msgs/\d+\.blk$", "$stream")],
    },
    KnownStore {
        system: "kafka",
        exe: r"/java$",
        cmdline: r"\skafka\.Kafka(\s|$)",
        rules: &[(r"/(?P<partition>[^/]+-\d+)/\d{20}\.log$", "$partition")],
    },
];

impl KnownStore {
    /// Finds its processes.
    #[must_use]
    pub fn selector(&self) -> Selector {
        let regex = |pattern: &str| Regex::new(pattern).expect("the patterns are constant and tested");
        Selector { exe: Some(regex(self.exe)), cmdline: Some(regex(self.cmdline)), ..Selector::default() }
    }

    /// Finds its partitions.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        self.rules
            .iter()
            .map(|(path, partition)| Rule::path(path, partition).expect("the rules are constant and tested"))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Rules;
    use isotherm_model::{NodeId, Subject, SystemId};

    #[test]
    fn every_store_is_well_formed_and_knows_its_files() {
        for store in KNOWN {
            assert!(!store.selector().is_empty());
            assert_eq!(store.rules().len(), store.rules.len());
        }
        let claim = |system: &str, path: &str| {
            let store = KNOWN.iter().find(|store| store.system == system).unwrap();
            let node = NodeId::new(SystemId::new("s").unwrap(), "n").unwrap();
            match Rules::new(&store.rules()).claim_path(&node, path) {
                Subject::Partition(id) => Some(id.name().to_owned()),
                Subject::Other(_) | Subject::Unattributed(_) => None,
            }
        };
        assert_eq!(claim("seaweedfs", "/v1/photos_12.dat").as_deref(), Some("12"));
        assert_eq!(claim("seaweedfs", "/v1/12.idx"), None);
        assert_eq!(claim("postgresql", "/pg/base/5/16384_fsm").as_deref(), Some("5/16384"));
        assert_eq!(claim("postgresql", "/pg/base/5/16384.1").as_deref(), Some("5/16384"));
        assert_eq!(claim("kafka", "/k/orders-3/00000000000000000042.log").as_deref(), Some("orders-3"));
        assert_eq!(claim("nats", "/js/streams/S/msgs/4.blk").as_deref(), Some("S"));
    }
}
