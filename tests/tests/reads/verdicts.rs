//! What cycles find of reads, and what becomes of it.

use super::support::command::{code, parsed, stderr, stdout};
use super::support::sample::{node, row, window};
use super::support::telemetry::{Agent, Answer};
use super::{Scene, shifts, truth};
use isotherm_model::{Operation, Row, Timestamp, Window};
use serde_json::Value;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(150);

/// Reads of each partition in a second.
const READS: u64 = 40;

/// Tells every second what each node served: the holders that are not drained share the reads.
struct Feed {
    agent: Agent,
    seq: u64,
    sent_ms: u64,
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

impl Feed {
    async fn new(scene: &Scene) -> Self {
        let agent = Agent::connect(scene.url(), "host", "boot").await.unwrap();
        Self { agent, seq: 0, sent_ms: now_ms() / 1_000 * 1_000 }
    }

    async fn keep_up(&mut self, scene: &Scene) {
        // What is behind goes together, as an answer may take longer than a second.
        let mut seconds = Vec::new();
        while self.sent_ms + 1_000 <= now_ms() {
            let nodes = ["n1", "n2", "n3", "n4"].map(|name| node(name, served(scene, name)));
            seconds.push(Window { start: Timestamp::from_ms(self.sent_ms), ..window(0, nodes.into()) });
            self.sent_ms += 1_000;
        }
        if !seconds.is_empty() {
            self.seq += 1;
            let answer = self.agent.deliver(self.seq, &seconds).await.unwrap();
            assert_eq!(answer, Answer::Ack(self.seq));
        }
    }

    async fn until(&mut self, scene: &Scene, what: &str, reached: impl Fn() -> bool) {
        let begun = Instant::now();
        while !reached() {
            self.keep_up(scene).await;
            let told = || stdout(&scene.ask(&["analyze", "risk", "--top", "8"]));
            let diary = || stdout(&scene.ask(&["diary", "--limit", "40"]));
            assert!(begun.elapsed() < LIMIT, "not so in time: {what}\n{}{}{}", told(), diary(), scene.logs());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn served(scene: &Scene, name: &str) -> Vec<Row> {
    let cluster = scene.cluster();
    let sql = "SELECT part, (SELECT count(*) FROM replica AS other
                             WHERE other.part = replica.part AND other.serves AND NOT other.drained)
               FROM replica WHERE node = ?1 AND serves AND NOT drained ORDER BY part";
    let mut rows = cluster.prepare(sql).unwrap();
    let rows = rows.query_map([name], |row| Ok((row.get::<_, String>(0)?, row.get::<_, u32>(1)?))).unwrap();
    rows.map(|found| found.unwrap())
        .map(|(part, of)| row(&part, Operation::Read, READS / u64::from(of)))
        .collect()
}

/// A scene whose node n1 somebody knows to be about to die.
fn scene(mode: &str, gate: &str) -> Scene {
    let cycle = format!(
        "[migrate.reads]\nundo_after = \"2s\"\ncool_down = \"1h\"\n[cycle]\nsettle = \"8s\"\n\
         [cycle.policy]\nstep_ms = 1000\nmode = \"{mode}\"\nshifts = \"drain\"\n\
         [cycle.policy.gate]\npeak_over_mean = 3.0\nshift_cool_down_h = 0.0\n{gate}\n"
    );
    let store = "shift_reads = \"drain\"\nload_capacity = 1000\nlatency = \"1ms\"\nblocks = 8\n";
    let scene = Scene::new("at_switch", store, &format!("probation = \"300ms\"\n{cycle}"));
    let hazard = ["node", "hazard", "set", "n1", "--per-hour", "0.5", "--until", "2h", "--reason", "smart"];
    let set = scene.ask(&hazard);
    assert!(set.status.success(), "{}", stderr(&set));
    scene
}

/// The partitions of n1, as the simulated cluster lays them out.
const ON_N1: [&str; 4] = ["p1", "p4", "p5", "p8"];

fn newest(scene: &Scene, partition: &str) -> Value {
    shifts(scene, partition).into_iter().next().unwrap_or(Value::Null)
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_auto_reads_leave_a_weak_node_and_come_back_when_it_is_mended() {
    let scene = scene("auto", "gain_over_cost = 1e9");
    let mut feed = Feed::new(&scene).await;
    feed.until(&scene, "reads have left n1", || {
        ON_N1.iter().all(|partition| newest(&scene, partition)["state"] == "IN_FORCE")
    })
    .await;
    for partition in ON_N1 {
        let told = newest(&scene, partition);
        let fields = ["who", "trigger", "node"].map(|field| told[field].as_str().unwrap());
        assert_eq!(fields, ["isotherm", "gate", "seaweedfs/n1"]);
        assert_eq!(truth(&scene, partition).0, ["n1"]);
    }
    feed.until(&scene, "the cycle judges the cause on the node", || newest(&scene, "p1")["cause"] == "there")
        .await;
    // For some cycles more nothing is asked for again, although the hazard is still there.
    let held = Instant::now();
    feed.until(&scene, "time passes", || held.elapsed() > Duration::from_secs(5)).await;
    assert_eq!(shifts(&scene, "p1").len(), 1);
    let why = stdout(&scene.ask(&["explain", "partition", "p1"]));
    assert!(why.contains("n1 serves none of its reads as its reads were shifted"), "{why}");

    let cleared = scene.ask(&["node", "hazard", "clear", "n1", "--reason", "new disk"]);
    assert!(cleared.status.success(), "{}", stderr(&cleared));
    feed.until(&scene, "reads are back", || {
        ON_N1.iter().all(|partition| newest(&scene, partition)["state"] == "ENDED")
    })
    .await;
    for partition in ON_N1 {
        assert_eq!(newest(&scene, partition)["how"], "undone");
        assert_eq!(truth(&scene, partition).0, Vec::<String>::new());
    }
    let diary = stdout(&scene.ask(&["diary", "--partition", "seaweedfs/p1"]));
    assert!(diary.contains("ENDED, undone: its cause is gone"), "{diary}");
    // The cool-down holds a second one up, and the diary says so.
    let set = ["node", "hazard", "set", "n1", "--per-hour", "0.5", "--until", "2h", "--reason", "smart"];
    assert!(scene.ask(&set).status.success());
    feed.until(&scene, "the cool-down is told", || {
        stdout(&scene.ask(&["diary", "--partition", "seaweedfs/p1"])).contains("migrate.reads.cool_down")
    })
    .await;
    assert_eq!(shifts(&scene, "p1").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn in_mode_approve_somebody_agrees_first() {
    let scene = scene("approve", "gain_over_cost = 1e9");
    let mut feed = Feed::new(&scene).await;
    // Both would bring reads to n2: only one at a time, and the other once a cycle knows of that.
    feed.until(&scene, "somebody is asked", || {
        ["p1", "p5"].iter().all(|partition| newest(&scene, partition)["state"] == "AWAITING_APPROVAL")
    })
    .await;
    let asked_ms = ["p1", "p5"].map(|partition| newest(&scene, partition)["created_ms"].as_u64().unwrap());
    assert!(asked_ms[0].abs_diff(asked_ms[1]) > 1_000, "{asked_ms:?}");
    let diary = stdout(&scene.ask(&["diary", "--limit", "200"]));
    assert!(diary.contains("seaweedfs/n2 is to serve more since it was judged"), "{diary}");
    assert_eq!(truth(&scene, "p1").0, Vec::<String>::new(), "nothing is done before");
    let approve = ["reads", "approve", "p1", "--reason", "yes", "--who", "ann"];
    let tried = scene.ask(&approve);
    assert!(stdout(&tried).contains("nothing was done"), "{}{}", stdout(&tried), stderr(&tried));
    assert_eq!(newest(&scene, "p1")["state"], "AWAITING_APPROVAL", "without --yes it goes on waiting");
    assert_eq!(code(&scene.ask(&["freeze", "--reason", "the fair"])), Some(0));
    let frozen = scene.ask(&approve);
    assert_eq!((code(&frozen), stderr(&frozen).contains("the fair")), (Some(4), true), "{}", stderr(&frozen));
    assert_eq!(code(&scene.ask(&["unfreeze"])), Some(0));
    let agreed = scene.ask(&[&approve[..], &["--yes"]].concat());
    assert_eq!(code(&agreed), Some(0), "{}", stderr(&agreed));
    assert_eq!(
        (&*truth(&scene, "p1").0, newest(&scene, "p1")["state"].as_str()),
        (&["n1".to_owned()][..], Some("IN_FORCE"))
    );
    // Another one is not wanted.
    let dropped = scene.ask(&["reads", "restore", "p5", "--yes"]);
    assert_eq!(code(&dropped), Some(0), "{}", stderr(&dropped));
    assert_eq!(newest(&scene, "p5")["how"], "given up before it began");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_are_shifted_first_and_then_the_replica_is_moved() {
    let scene = scene("auto", "");
    let mut feed = Feed::new(&scene).await;
    let moved = || {
        let all = parsed(&scene.ask(&["migrate", "status", "--all", "-o", "json"]));
        let done = |one: &&Value| one["phase"] == "COMPLETED" && one["source"] == "seaweedfs/n1";
        all["migrations"].as_array().unwrap().iter().find(done).cloned()
    };
    feed.until(&scene, "a replica has left n1", || moved().is_some()).await;
    let migration = moved().unwrap();
    let partition = migration["partition"].as_str().unwrap().strip_prefix("seaweedfs/").unwrap();
    let target = migration["target"].as_str().unwrap().strip_prefix("seaweedfs/").unwrap();
    let shift = newest(&scene, partition);
    assert!(shift["since_ms"].as_u64().unwrap() <= migration["created_ms"].as_u64().unwrap(), "{shift:#}");
    assert_eq!((&shift["state"], &shift["how"]), (&"ENDED".into(), &"undone".into()));
    scene.ended_well(partition, target);
    assert_eq!(truth(&scene, partition).0, Vec::<String>::new());
}
