//! A load whose truth is known: which node was asked for which volume, how often, and with how many bytes on
//! the wire.
//!
//! Every GET goes straight to a chosen volume server, and counts only when the whole object came back: a
//! GET of a small object is one read of the volume's file. A PUT of a new object goes where the master says,
//! and that node passes it on to the volume's other one; it is one write of the file on each (both measured on
//! SeaweedFS 4.48). A request that fails ends the load, since nobody could say whether it was served.
//!
//! Each worker has an address of its own, so that servers know it as a peer.

use crate::client::{Meter, Traffic, address, metered};
use crate::seaweed::{Place, assign, content, http, put};
use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A volume that was filled.
#[derive(Debug, Clone)]
pub struct Volume {
    /// The store's number for it.
    pub id: u32,
    /// The nodes that hold it.
    pub nodes: Vec<String>,
    /// Keys of its objects, the part of the file id behind the comma.
    pub keys: Vec<String>,
    /// Length of every object.
    pub object_bytes: usize,
    /// What each object takes in the volume's file with all that the store adds, by node and key, in the order
    /// of `nodes` and `keys`. The node that got an object from a client may keep more of it than the other.
    pub stored_bytes: Vec<Vec<u64>>,
}

/// How the reads of a volume divide between its nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skew {
    /// By volume: 9:1, 3:1, 1:2, 1:19 and again. Entropies of .47, .81, .92 and .29 bits. Of the volumes that the spared
    /// node holds it serves one read of twenty.
    Uneven {
        /// The node that is leaned on little; none if it is not given.
        spared: Option<String>,
    },
    /// As [`Skew::Uneven`] at first, and evenly from the middle of the load on: node entropy rises to 1 bit.
    Vanishing {
        /// As there.
        spared: Option<String>,
    },
    /// Evenly, so every volume's node entropy is 1 bit.
    Vanished,
}

/// Shares of the first and second node under [`Skew::Uneven`], by the volume's rank.
const UNEVEN: [[f64; 2]; 4] = [[9.0, 1.0], [3.0, 1.0], [1.0, 2.0], [1.0, 19.0]];

/// Reads that the other node of a volume serves for one of a spared node.
const SPARED: f64 = 19.0;

/// The exponent of the Zipf distribution over volumes: the n-th gets a share of `1 / n^s`. Around 1 in
/// traces of object stores.
const ZIPF_EXPONENT: f64 = 1.0;

/// The addresses of the workers, no node's.
const CLIENTS: [Ipv4Addr; 4] = [
    Ipv4Addr::new(10, 77, 0, 101),
    Ipv4Addr::new(10, 77, 0, 102),
    Ipv4Addr::new(10, 77, 0, 103),
    Ipv4Addr::new(10, 77, 0, 104),
];

/// What to ask for.
#[derive(Debug, Clone)]
pub struct Load {
    /// Hottest first.
    pub volumes: Arc<[Volume]>,
    /// Between the nodes of a volume.
    pub skew: Skew,
    /// The same seed gives the same requests.
    pub seed: u64,
    /// All requests together.
    pub requests: u64,
    /// One request of so many is a PUT; none if it is not given.
    pub put_every: Option<NonZeroU64>,
    /// Requests per second at the most.
    pub rate_per_second: f64,
}

/// How often each node was really asked for each volume, and what went over the wire. Shared, so that it can
/// be watched.
#[derive(Debug, Clone)]
pub struct Truth {
    volumes: Arc<[Volume]>,
    asked: Arc<[Vec<Asked>]>,
    meters: Arc<[Meter]>,
}

/// Requests to a node for a volume.
#[derive(Debug, Default)]
struct Asked {
    gets: AtomicU64,
    get_bytes: AtomicU64,
    puts: AtomicU64,
}

/// One line of the truth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrueRequests {
    /// The volume.
    pub volume: u32,
    /// The node.
    pub node: String,
    /// GETs it answered.
    pub gets: u64,
    /// What their objects take in the volume's file there.
    pub get_bytes: u64,
    /// PUTs it was given by clients.
    pub puts: u64,
    /// Objects of the volume that it has written: its own PUTs, and those of the volume's other nodes.
    pub writes: u64,
}

impl Truth {
    /// Nothing asked yet. Fails if a node's name is no `address:port`.
    pub fn new(volumes: Arc<[Volume]>) -> Result<Self> {
        let nodes: BTreeSet<&String> = volumes.iter().flat_map(|volume| &volume.nodes).collect();
        let mut meters = Vec::new();
        for node in nodes {
            let server = address(node)?;
            meters.extend(CLIENTS.map(|client| Meter::new(client, server)));
        }
        let zeros = |volume: &Volume| volume.nodes.iter().map(|_| Asked::default()).collect();
        let asked = volumes.iter().map(zeros).collect();
        Ok(Self { volumes, asked, meters: meters.into() })
    }

    /// What was asked so far, zeros included, volumes in order of their rank.
    #[must_use]
    pub fn rows(&self) -> Vec<TrueRequests> {
        let mut rows = Vec::new();
        for (volume, asked) in self.volumes.iter().zip(&*self.asked) {
            let writes = asked.iter().map(|asked| asked.puts.load(Ordering::Relaxed)).sum();
            for (node, asked) in volume.nodes.iter().zip(asked) {
                rows.push(TrueRequests {
                    volume: volume.id,
                    node: node.clone(),
                    gets: asked.gets.load(Ordering::Relaxed),
                    get_bytes: asked.get_bytes.load(Ordering::Relaxed),
                    puts: asked.puts.load(Ordering::Relaxed),
                    writes,
                });
            }
        }
        rows
    }

    /// What every client exchanged with every node so far, zeros included.
    #[must_use]
    pub fn traffic(&self) -> Vec<Traffic> {
        self.meters.iter().map(Meter::traffic).collect()
    }

    /// All requests so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        let of = |asked: &Asked| asked.gets.load(Ordering::Relaxed) + asked.puts.load(Ordering::Relaxed);
        self.asked.iter().flatten().map(of).sum()
    }
}

impl Load {
    /// Runs until all requests are answered or `stop` is set. Blocks, and has to run in the cluster's
    /// namespace: the workers inherit it.
    pub fn run(&self, truth: &Truth, stop: &Arc<AtomicBool>) -> Result<()> {
        let started = Instant::now();
        let workers: Vec<_> = (0..CLIENTS.len())
            .map(|number| {
                let (load, truth, stop) = (self.clone(), truth.clone(), Arc::clone(stop));
                thread::spawn(move || {
                    let outcome = load.work(number, started, &truth, &stop);
                    if outcome.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    outcome
                })
            })
            .collect();
        let mut outcome = Ok(());
        for worker in workers {
            match worker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => outcome = Err(error),
                Err(_) => bail!("a worker of the load panicked"),
            }
        }
        outcome
    }

    fn work(&self, number: usize, started: Instant, truth: &Truth, stop: &AtomicBool) -> Result<()> {
        // The master is asked from elsewhere: only what goes to volume servers is counted.
        let (nodes, master) = (metered(CLIENTS[number], Arc::clone(&truth.meters)), http());
        let mut rng = Rng::with_seed(self.seed.wrapping_mul(1_000).wrapping_add(number as u64));
        for request in (number as u64..self.requests).step_by(CLIENTS.len()) {
            // Pacing, not waiting: request n is due at n / rate.
            let due = started + Duration::from_secs_f64(request as f64 / self.rate_per_second);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.put_every.is_some_and(|every| request % every == 0) {
                self.put_one(&master, &nodes, &mut rng, truth)?;
            } else {
                let done = request as f64 / self.requests as f64;
                self.get_one(&nodes, &mut rng, done, truth)?;
            }
        }
        Ok(())
    }

    fn get_one(&self, nodes: &ureq::Agent, rng: &mut Rng, done: f64, truth: &Truth) -> Result<()> {
        let (rank, replica) = self.choose(rng, done);
        let volume = &self.volumes[rank];
        ensure!(!volume.keys.is_empty(), "volume {} is empty", volume.id);
        let number = rng.usize(..volume.keys.len());
        let key = &volume.keys[number];
        let url = format!("http://{}/{},{key}", volume.nodes[replica], volume.id);
        get(nodes, &url, volume.object_bytes)?;
        let asked = &truth.asked[rank][replica];
        asked.gets.fetch_add(1, Ordering::Relaxed);
        asked.get_bytes.fetch_add(volume.stored_bytes[replica][number], Ordering::Relaxed);
        Ok(())
    }

    /// Nobody chooses where: the master spreads new objects over the volumes.
    fn put_one(&self, master: &ureq::Agent, nodes: &ureq::Agent, rng: &mut Rng, truth: &Truth) -> Result<()> {
        let Place { volume, key, node } = assign(master)?;
        let rank = self.volumes.iter().position(|known| known.id == volume);
        let rank =
            rank.with_context(|| format!("the master assigned to volume {volume}, not one of ours"))?;
        let known = &self.volumes[rank];
        let replica = known.nodes.iter().position(|known| *known == node);
        let replica = replica.with_context(|| format!("volume {volume} is not known to lie on {node}"))?;
        put(nodes, &format!("http://{node}/{volume},{key}"), &content(rng, known.object_bytes))?;
        truth.asked[rank][replica].puts.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A volume by rank and one of its nodes, when so much of the load is done, 0 to 1.
    fn choose(&self, rng: &mut Rng, done: f64) -> (usize, usize) {
        let by_rank = |rank: usize| 1.0 / ((rank + 1) as f64).powf(ZIPF_EXPONENT);
        let rank = weighted(rng, self.volumes.len(), by_rank);
        let nodes = &self.volumes[rank].nodes;
        let (spared, even) = match &self.skew {
            Skew::Uneven { spared } => (spared.as_ref(), 0.0),
            Skew::Vanishing { spared } => (spared.as_ref(), (2.0 * done).min(1.0)),
            Skew::Vanished => (None, 1.0),
        };
        let shares = match nodes.iter().position(|node| Some(node) == spared) {
            Some(spared) => [0, 1].map(|node| if node == spared { 1.0 } else { SPARED }),
            None => UNEVEN[rank % UNEVEN.len()],
        };
        let sum: f64 = shares.iter().sum();
        let share = |node: usize| (1.0 - even) * shares[node.min(1)] / sum + even / nodes.len() as f64;
        (rank, weighted(rng, nodes.len(), share))
    }
}

/// One of `0..len`, by weight.
fn weighted(rng: &mut Rng, len: usize, weight: impl Fn(usize) -> f64) -> usize {
    let total: f64 = (0..len).map(&weight).sum();
    let mut left = rng.f64() * total;
    for index in 0..len {
        left -= weight(index);
        if left < 0.0 {
            return index;
        }
    }
    len - 1
}

fn get(http: &ureq::Agent, url: &str, len: usize) -> Result<()> {
    let mut response = http.get(url).call().with_context(|| format!("GET {url}"))?;
    ensure!(response.status() == 200, "GET {url}: status {}", response.status());
    let body = response.body_mut().read_to_vec().with_context(|| format!("read {url}"))?;
    ensure!(body.len() == len, "GET {url}: {} bytes, wrote {len}", body.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(skew: Skew) -> Load {
        let nodes = vec!["a".to_owned(), "b".to_owned()];
        let volume =
            |id| Volume { id, nodes: nodes.clone(), keys: vec![], object_bytes: 1, stored_bytes: vec![] };
        let volumes = (1..=4).map(volume).collect();
        Load { volumes, skew, seed: 7, requests: 0, put_every: None, rate_per_second: 1.0 }
    }

    fn uneven(spared: Option<&str>) -> Skew {
        Skew::Uneven { spared: spared.map(str::to_owned) }
    }

    fn draws(load: &Load, done: f64) -> Vec<[u64; 2]> {
        let mut rng = Rng::with_seed(load.seed);
        let mut counts = vec![[0; 2]; 4];
        for _ in 0..20_000 {
            let (rank, replica) = load.choose(&mut rng, done);
            counts[rank][replica] += 1;
        }
        counts
    }

    #[test]
    fn volumes_follow_zipf_and_replicas_their_skew() {
        let counts = draws(&load(uneven(None)), 0.0);
        let sums: Vec<f64> = counts.iter().map(|[a, b]| (a + b) as f64).collect();
        // With exponent 1 over four volumes: 12/25, 6/25, 4/25, 3/25. Four standard deviations are below .015.
        for (sum, share) in sums.iter().zip([0.48, 0.24, 0.16, 0.12]) {
            assert!((sum / 20_000.0 - share).abs() < 0.015, "{sum} of 20000, expected {share}");
        }
        for ([first, _], (sum, share)) in counts.iter().zip(sums.iter().zip([0.9, 0.75, 1.0 / 3.0, 0.05])) {
            assert!((*first as f64 / sum - share).abs() < 0.04, "{first} of {sum}, expected {share}");
        }
    }

    #[test]
    fn without_skew_the_replicas_share_evenly() {
        for [first, second] in draws(&load(Skew::Vanished), 0.0) {
            assert!((first as f64 / (first + second) as f64 - 0.5).abs() < 0.04);
        }
    }

    #[test]
    fn a_spared_node_serves_one_read_of_twenty() {
        for [first, second] in draws(&load(uneven(Some("b"))), 0.5) {
            assert!((second as f64 / (first + second) as f64 - 0.05).abs() < 0.02);
        }
    }

    #[test]
    fn a_skew_vanishes_by_the_middle_of_the_load() {
        let load = load(Skew::Vanishing { spared: Some("b".to_owned()) });
        for (done, expected) in [(0.0, 0.05), (0.25, 0.275), (0.5, 0.5), (0.9, 0.5)] {
            for [first, second] in draws(&load, done) {
                assert!((second as f64 / (first + second) as f64 - expected).abs() < 0.04, "{done}");
            }
        }
    }

    #[test]
    fn a_seed_fixes_the_requests() {
        assert_eq!(draws(&load(uneven(None)), 0.0), draws(&load(uneven(None)), 0.0));
    }
}
