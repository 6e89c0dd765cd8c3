//! Agents that tell, second by second, who serves what in a simulated cluster: each replica twenty reads a second, and as
//! many requests to its disk.

use super::scene::Scene;
use super::support::sample::{device, node, row, window};
use super::support::telemetry::Agent;
use isotherm_model::{Operation, Row, Timestamp, Window};
use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(120);

const NODES: [&str; 4] = ["n1", "n2", "n3", "n4"];

pub(crate) struct Watched {
    agent: Agent,
    seq: u64,
    sent_ms: u64,
}

impl Watched {
    /// Begins with this second.
    pub(crate) async fn connect(scene: &Scene) -> Self {
        let agent = Agent::connect(scene.url(), "host", "boot").await.unwrap();
        Self { agent, seq: 0, sent_ms: now_ms() / 1_000 * 1_000 }
    }

    /// Sends every second as it ends, and asks until there is an answer.
    pub(crate) async fn until<T>(
        &mut self,
        scene: &Scene,
        what: &str,
        answer: impl Fn(&Scene) -> Option<T>,
    ) -> T {
        let begun = Instant::now();
        loop {
            self.send(scene).await;
            if let Some(found) = answer(scene) {
                return found;
            }
            assert!(begun.elapsed() < LIMIT, "not so in time: {what}\n{}{}", risks(scene), scene.logs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The seconds that have ended, in one batch: however slow the machine is, that comes to an end.
    async fn send(&mut self, scene: &Scene) {
        let now_ms = now_ms();
        if self.sent_ms + 1_000 > now_ms {
            return;
        }
        let holders: BTreeMap<String, Vec<String>> = (1..=8)
            .map(|number| format!("p{number}"))
            .map(|partition| (partition.clone(), serving(scene, &partition)))
            .collect();
        let mut seconds = Vec::new();
        while self.sent_ms + 1_000 <= now_ms {
            let nodes = NODES.map(|name| node(name, rows(name, &holders)));
            seconds.push(Window { start: Timestamp::from_ms(self.sent_ms), ..window(0, nodes.into()) });
            self.sent_ms += 1_000;
        }
        self.seq += 1;
        self.agent.deliver_all(self.seq, &seconds).await.unwrap();
    }
}

/// The nodes whose replica of a partition serves.
fn serving(scene: &Scene, partition: &str) -> Vec<String> {
    let holders = scene.holders(partition).into_iter();
    holders.filter(|(_, serves)| *serves).map(|(holder, _)| holder).collect()
}

/// What a node does in a second.
fn rows(name: &str, holders: &BTreeMap<String, Vec<String>>) -> Vec<Row> {
    let held = holders.iter().filter(|(_, nodes)| nodes.iter().any(|node| node == name));
    held.flat_map(|(partition, _)| {
        [row(partition, Operation::Read, 20), device(partition, Operation::Read, 20)]
    })
    .collect()
}

fn risks(scene: &Scene) -> String {
    String::from_utf8_lossy(&scene.ask(&["analyze", "risk", "--top", "8"]).stdout).into_owned()
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
