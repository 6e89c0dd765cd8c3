//! Shifts of reads: whatever is lost and whoever dies, reads are moved once, and back once.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake;

use fake::{Fake, Fault};
use futures::future::BoxFuture;
use isotherm_migration::{
    Action, Approval, Capabilities, Fence, MigrationId, Origin, Phase, Policy, Reason, Revision, Spec, Switch,
};
use isotherm_model::{NodeId, PartitionId, SystemId};
use isotherm_runner::journal::{Diary, FILE, Freeze, Reading};
use isotherm_runner::shift::{Wanted, What, Why};
use isotherm_runner::{
    Connect, Handle, Journal, Kind, Limits, Line, Shift, Start, Trigger, UndoShift, handle, run,
};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

const LIMIT: Duration = Duration::from_secs(60);

/// An adapter's address, and why nothing may begin, if so.
struct Outside {
    url: String,
    frozen: Arc<Mutex<Option<String>>>,
}

impl Connect for Outside {
    fn connect(&self, _: &SystemId) -> BoxFuture<'static, Result<Channel, String>> {
        let endpoint = Endpoint::from_shared(self.url.clone()).unwrap();
        Box::pin(async move { endpoint.connect().await.map_err(|error| error.to_string()) })
    }

    fn takes(&self, _: &SystemId) -> u32 {
        4
    }

    fn moved(&self, _: &Spec) -> Option<Revision> {
        None
    }

    fn frozen(&self) -> Option<String> {
        self.frozen.lock().unwrap().clone()
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn node(name: &str) -> NodeId {
    NodeId::new(SystemId::new("s").unwrap(), name).unwrap()
}

fn partition(name: &str) -> PartitionId {
    PartitionId::new(SystemId::new("s").unwrap(), name).unwrap()
}

/// A journal, an adapter, and a runner that can die.
struct Scene {
    runtime: Runtime,
    folder: TempDir,
    fake: Fake,
    url: String,
    frozen: Arc<Mutex<Option<String>>>,
    runner: Option<(Handle, CancellationToken, std::thread::JoinHandle<()>)>,
}

impl Scene {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let (fake, url) = Fake::serve(runtime.handle());
        let (folder, frozen) = (tempfile::tempdir().unwrap(), Arc::default());
        let mut scene = Self { runtime, folder, fake, url, frozen, runner: None };
        scene.start();
        scene
    }

    fn start(&mut self) {
        let (handle, mut inbox) = handle();
        let (stop, journal) = (CancellationToken::new(), Journal::open(self.folder.path()).unwrap());
        let outside = Outside { url: self.url.clone(), frozen: Arc::clone(&self.frozen) };
        let (until, outside) = (stop.clone(), Arc::new(outside));
        let runtime = self.runtime.handle().clone();
        let thread = std::thread::spawn(move || {
            run(journal, Limits::default(), outside, &mut inbox, &runtime, &until).unwrap();
        });
        self.runner = Some((handle, stop, thread));
    }

    /// It ends with nothing written that was not, and nothing heard of what is under way.
    fn die(&mut self) {
        let (_, stop, thread) = self.runner.take().unwrap();
        stop.cancel();
        thread.join().unwrap();
    }

    fn handle(&self) -> Handle {
        self.runner.as_ref().unwrap().0.clone()
    }

    fn want(&self, what: What, id: &str) -> Result<MigrationId, String> {
        let wanted = Wanted {
            partition: partition("p"),
            what,
            by: "ann".to_owned(),
            reason: "smoke".to_owned(),
            trigger: Trigger::Manual,
            gray: false,
            approval_until_ms: None,
        };
        self.wanted(wanted, id)
    }

    fn wanted(&self, wanted: Wanted, id: &str) -> Result<MigrationId, String> {
        let shift = self.runtime.block_on(self.handle().shift(MigrationId::new(id).unwrap(), wanted));
        shift.map_err(|refused| refused.to_string())
    }

    fn undo(&self, id: &str, forget: bool) -> Result<(), String> {
        let (id, by, reason) = (id.to_owned(), "ann".to_owned(), "over".to_owned());
        let undo = UndoShift { id, why: Why::Wanted, forget, by, reason };
        let undone = self.runtime.block_on(self.handle().undo_shift(undo));
        undone.map_err(|refused| refused.to_string())
    }

    fn shift(&self, id: &str) -> Shift {
        let all = Reading::new(self.folder.path().join(FILE)).shifts(true, 100).unwrap();
        all.into_iter().find(|shift| shift.id.as_str() == id).unwrap()
    }

    fn until(&self, what: &str, reached: impl Fn() -> bool) {
        let begun = Instant::now();
        while !reached() {
            assert!(begun.elapsed() < LIMIT, "not so in time: {what}: {:?}", self.fake.world());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn reaches(&self, id: &str, state: &str) {
        self.until(&format!("{id} is {state}"), || self.shift(id).state() == state);
    }

    fn faults(&self, faults: &[Fault]) {
        self.fake.world().faults = faults.iter().cloned().collect();
    }

    /// The names of shifts that were called for.
    fn requests(&self) -> Vec<String> {
        let world = self.fake.world();
        world.heard.iter().filter_map(|call| call.strip_prefix("shift ").map(str::to_owned)).collect()
    }
}

fn drain() -> What {
    What::Drain { node: node("a") }
}

#[test]
fn whoever_dies_reads_are_moved_once_and_back_once() {
    // The question before the call, or the call; before it has an effect or after; of the shift, or of its undoing.
    let hangs = [Fault::HangsBefore, Fault::HangsAfter];
    for (calls, undoing) in [(0, false), (1, false), (0, true), (1, true)] {
        for hang in &hangs {
            for what in [drain(), What::Lead { to: node("b") }] {
                let mut scene = Scene::new();
                let mut faults = vec![Fault::None; calls];
                faults.push(hang.clone());
                if !undoing {
                    scene.faults(&faults);
                }
                scene.want(what.clone(), "s1").unwrap();
                if undoing {
                    scene.reaches("s1", "IN_FORCE");
                    scene.faults(&faults);
                    scene.undo("s1", false).unwrap();
                }
                scene.until("it hangs", || scene.fake.world().faults.is_empty());
                scene.until("the intent is written", || {
                    let calls = scene.fake.world().heard.len();
                    calls > 0 && scene.shift("s1").requests as usize >= scene.requests().len()
                });
                scene.die();
                scene.start();
                let case = format!("{what} {calls} {undoing} {hang:?}");
                if !undoing {
                    scene.reaches("s1", "IN_FORCE");
                    assert_eq!(scene.fake.world().effects, 1, "{case}");
                    scene.undo("s1", false).unwrap();
                }
                scene.reaches("s1", "ENDED");
                let world = scene.fake.world();
                assert_eq!((world.effects, &world.drained, &*world.leader), (2, &None, "a"), "{case}");
                drop(world);
                let mut distinct = scene.requests();
                distinct.dedup();
                assert_eq!(distinct, ["s1/reads/1", "s1/reads/2"], "{case}: repeated by the same name");
                scene.die();
            }
        }
    }
}

#[test]
fn what_nobody_knows_is_asked_for_by_the_same_name_and_refusals_by_another() {
    let scene = Scene::new();
    let busy = Fault::Refused(Reason::Transient { retry_after_ms: None });
    scene.faults(&[Fault::None, Fault::CallLost, Fault::AnswerLost, Fault::None]);
    scene.want(drain(), "s1").unwrap();
    scene.reaches("s1", "IN_FORCE");
    assert_eq!(scene.requests(), ["s1/reads/1"; 3]);
    scene.faults(&[busy, Fault::None, Fault::Refused(Reason::StaleEpoch)]);
    scene.undo("s1", false).unwrap();
    scene.reaches("s1", "ENDED");
    assert_eq!(scene.requests()[3..], ["s1/reads/2", "s1/reads/3"], "a refused question names none");
    assert_eq!(scene.fake.world().effects, 2);
}

#[test]
fn a_replica_that_an_adapter_drained_before_it_died_is_in_force() {
    let scene = Scene::new();
    scene.faults(&[Fault::None, Fault::CallLost]);
    // As if the lost call had been made, and the adapter had forgotten that it made it.
    scene.fake.world().drained = Some("a".to_owned());
    scene.want(drain(), "s1").unwrap();
    scene.reaches("s1", "IN_FORCE");
    assert_eq!(scene.shift("s1").undo.unwrap().0, node("a"));
    scene.undo("s1", false).unwrap();
    scene.reaches("s1", "ENDED");
    assert_eq!(scene.fake.world().drained, None);
    // Without a doubt it is somebody else's.
    scene.fake.world().drained = Some("a".to_owned());
    scene.want(drain(), "s2").unwrap();
    scene.reaches("s2", "ENDED");
    assert!(scene.fake.world().drained.is_some() && scene.shift("s2").since_ms.is_none());
}

#[test]
fn what_is_refused_for_good_has_no_effect_and_what_is_in_force_stays() {
    let scene = Scene::new();
    let no = || Fault::Refused(Reason::Conflict);
    scene.faults(&[Fault::None, no()]);
    scene.want(drain(), "s1").unwrap();
    scene.reaches("s1", "ENDED");
    assert!(scene.shift("s1").words.unwrap().contains("as told"));
    scene.want(drain(), "s2").unwrap();
    scene.reaches("s2", "IN_FORCE");
    let twice = scene.want(drain(), "s3").unwrap_err();
    assert!(twice.contains("reads of s/p are shifted already, by s2"), "{twice}");
    scene.faults(&[Fault::None, no()]);
    scene.undo("s2", false).unwrap();
    scene.until("it was refused", || scene.shift("s2").words.is_some());
    scene.reaches("s2", "IN_FORCE");
    // The way out: somebody knows that it is over.
    scene.undo("s2", true).unwrap();
    assert_eq!(scene.shift("s2").state(), "ENDED");
    assert_eq!(scene.fake.world().effects, 1);
    assert!(scene.undo("s2", false).unwrap_err().contains("there is no shift s2"));
}

#[test]
fn somebody_agrees_in_time_or_nothing_is_done() {
    let mut scene = Scene::new();
    let waiting = |until_ms| Wanted {
        partition: partition("p"),
        what: drain(),
        by: "isotherm".to_owned(),
        reason: "hazard".to_owned(),
        trigger: Trigger::Gate,
        gray: false,
        approval_until_ms: Some(until_ms),
    };
    scene.wanted(waiting(now_ms() + 300), "s1").unwrap();
    scene.die();
    scene.start();
    scene.reaches("s1", "ENDED");
    scene.wanted(waiting(now_ms() + 3_600_000), "s2").unwrap();
    let freeze = Freeze { since_ms: 1, by: "bob".to_owned(), reason: "the fair".to_owned() };
    let line = || Line::own(1, Kind::Wanted, "freeze");
    let handle = scene.handle();
    scene.runtime.block_on(handle.freeze(Some(freeze), line())).unwrap();
    let frozen = scene.runtime.block_on(handle.approve_shift("s2", "ann", "")).unwrap_err();
    assert!(frozen.to_string().contains("the fair"), "{frozen}");
    assert!(scene.fake.world().heard.is_empty());
    scene.runtime.block_on(handle.freeze(None, line())).unwrap();
    scene.runtime.block_on(handle.approve_shift("s2", "ann", "go")).unwrap();
    scene.reaches("s2", "IN_FORCE");
    let diary = Reading::new(scene.folder.path().join(FILE)).diary(&Diary { limit: 100, ..Diary::default() });
    let lines: Vec<String> =
        diary.unwrap().into_iter().map(|line| format!("{} {}", line.who, line.what)).collect();
    for line in [
        "isotherm reads s1: drain s/a",
        "isotherm reads s1: ENDED, nobody agreed in time",
        "ann reads s2: approve",
        "isotherm reads s2: s2/reads/1: s/a is to be drained, epoch 1 to 4",
        "isotherm reads s2: IN_FORCE",
    ] {
        assert!(lines.iter().any(|told| told == line), "{line}: {lines:#?}");
    }
}

fn spec(id: &str, origin: Origin) -> Spec {
    Spec {
        id: MigrationId::new(id).unwrap(),
        partition: partition("p"),
        origin,
        target: node("c"),
        revision: Revision(1),
        capabilities: Capabilities {
            switch: Switch::Gated,
            fence: Fence::AtSwitch,
            repair_from_replica: true,
            reverse: true,
        },
        policy: Policy::default(),
    }
}

impl Scene {
    fn migrate(&self, id: &str, origin: Origin) {
        let (by, reason) = ("ann".to_owned(), "go".to_owned());
        let start = Start { spec: spec(id, origin), by, reason, trigger: Trigger::Manual };
        self.runtime.block_on(self.handle().start(start)).unwrap();
    }

    fn validated(&self) -> bool {
        self.fake.world().heard.iter().any(|call| call == "validate")
    }
}

#[test]
fn a_drained_replica_is_restored_before_its_partition_moves() {
    let mut scene = Scene::new();
    scene.want(drain(), "s1").unwrap();
    scene.reaches("s1", "IN_FORCE");
    scene.faults(&[Fault::None, Fault::HangsBefore]);
    scene.migrate("m1", Origin::Move { source: node("a") });
    scene.until("it is being restored", || scene.requests().len() == 2);
    let board = scene.handle().board().borrow().clone();
    let waits = board.migrations[0].waits.clone().unwrap_or_default();
    assert!(waits.contains("drain s/a is UNDOING"), "{waits}");
    assert!(!scene.validated());
    scene.die();
    scene.start();
    scene.until("it moves", || scene.validated());
    assert_eq!(scene.fake.world().drained, None);
    assert_eq!(scene.shift("s1").state(), "ENDED");
    let refused = scene.want(drain(), "s2").unwrap_err();
    assert!(refused.contains("s/p is being moved by migration m1"), "{refused}");
    scene.die();
}

#[test]
fn nothing_is_restored_on_a_node_that_is_lost_or_that_only_leads_no_more() {
    let mut scene = Scene::new();
    scene.want(drain(), "s1").unwrap();
    scene.reaches("s1", "IN_FORCE");
    scene.migrate("m1", Origin::Repair { dead: node("a") });
    scene.until("it moves", || scene.validated());
    assert_eq!((scene.shift("s1").state(), scene.requests().len()), ("ENDED", 1));
    scene.die();

    let mut scene = Scene::new();
    scene.want(What::Lead { to: node("b") }, "s1").unwrap();
    scene.reaches("s1", "IN_FORCE");
    scene.migrate("m1", Origin::Move { source: node("a") });
    scene.until("it moves", || scene.validated());
    assert_eq!(scene.shift("s1").state(), "IN_FORCE");
    let refused = scene.undo("s1", false).unwrap_err();
    assert!(refused.contains("is being moved"), "nothing is undone meanwhile: {refused}");
    scene.die();
}

#[test]
fn what_waits_does_not_begin_while_the_world_says_no_and_goes_on_by_itself_afterwards() {
    let mut scene = Scene::new();
    let said = "the file is there";
    let mut asks = spec("m1", Origin::Move { source: node("a") });
    asks.policy.approval = Approval::Within { ms: 60_000 };
    let start = Start { spec: asks, by: "isotherm".into(), reason: "hazard".into(), trigger: Trigger::Gate };
    scene.runtime.block_on(scene.handle().start(start)).unwrap();
    *scene.frozen.lock().unwrap() = Some(said.to_owned());

    // Somebody agrees meanwhile.
    let (handle, id) = (scene.handle(), MigrationId::new("m1").unwrap());
    scene.runtime.block_on(handle.act(id, Action::Approve { revision: Revision(1) }, "ann", "go")).unwrap();
    let waits = || {
        let board = handle.board().borrow().clone();
        let seen = &board.migrations[0];
        (seen.entry.migration.phase(), seen.waits.clone())
    };
    scene.until("it waits", || waits() == (Phase::Planned, Some(said.to_owned())));
    let refused = scene.want(drain(), "s1").unwrap_err();
    assert_eq!(refused, said, "reads are not shifted either");
    let other = Start {
        spec: Spec { partition: partition("q"), ..spec("m2", Origin::Move { source: node("a") }) },
        by: "ann".into(),
        reason: String::new(),
        trigger: Trigger::Manual,
    };
    assert_eq!(scene.runtime.block_on(handle.start(other)).unwrap_err().to_string(), said);
    // Nor after a start.
    drop(handle);
    scene.die();
    scene.start();
    let handle = scene.handle();
    let planned = || handle.board().borrow().migrations.first().is_some_and(|seen| seen.waits.is_some());
    scene.until("it waits again", planned);
    assert!(!scene.validated() && scene.fake.world().heard.is_empty());

    // Nobody tells the runner: it looks again.
    *scene.frozen.lock().unwrap() = None;
    scene.until("it moves", || scene.validated());
    scene.die();
}
