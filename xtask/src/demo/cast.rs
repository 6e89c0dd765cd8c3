//! Who plays what: the server that will fail, the volumes that are taken off it in time, and those that are not.

use anyhow::{Context, Result, ensure};
use isotherm_tests::load::Volume;
use isotherm_tests::seaweed::Node;

/// The parts.
#[derive(Debug, Clone)]
pub(super) struct Cast {
    /// The server with a history of failures: the one that holds the most volumes.
    pub(super) weak: String,
    /// Volumes of it that isotherm may act on.
    pub(super) cared_for: Vec<u32>,
    /// Volumes of it that are never touched, so that one sees what would have been: every other one.
    pub(super) held_out: Vec<u32>,
}

impl Cast {
    /// Gives out the parts.
    ///
    /// # Errors
    /// No server holds two volumes.
    pub(super) fn of(nodes: &[Node], volumes: &[Volume]) -> Result<Self> {
        let weak = nodes
            .iter()
            .max_by_key(|node| held(volumes, &node.name).count())
            .context("a cluster has nodes")?;
        let ids = || held(volumes, &weak.name).map(|volume| volume.id);
        let (cared_for, held_out) =
            (ids().step_by(2).collect(), ids().skip(1).step_by(2).collect::<Vec<_>>());
        ensure!(!held_out.is_empty(), "{} holds too few volumes to hold one out", weak.name);
        Ok(Self { weak: weak.name.clone(), cared_for, held_out })
    }
}

/// The volumes that a node holds.
fn held<'a>(volumes: &'a [Volume], node: &'a str) -> impl Iterator<Item = &'a Volume> {
    volumes.iter().filter(move |volume| volume.nodes.iter().any(|name| name == node))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_server_is_weak_and_every_other_of_its_volumes_held_out() {
        let node = |name: &str| Node { name: name.into(), rack: "r", data: "/d".into() };
        let volume = |id, nodes: [&str; 2]| Volume {
            id,
            nodes: nodes.map(str::to_owned).to_vec(),
            keys: vec![],
            object_bytes: 1,
            stored_bytes: vec![],
        };
        let volumes =
            [volume(1, ["a", "b"]), volume(2, ["b", "c"]), volume(3, ["b", "c"]), volume(4, ["a", "c"])];
        let cast = Cast::of(&[node("a"), node("b"), node("c")], &volumes[..3]).unwrap();
        assert_eq!((cast.weak.as_str(), cast.cared_for, cast.held_out), ("b", vec![1, 3], vec![2]));
        assert!(Cast::of(&[node("a")], &volumes[..1]).is_err());
    }
}
