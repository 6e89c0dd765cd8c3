//! One store with its programs, on which rows are tried one after the other.

mod check;
mod strike;

use super::clients::{Clients, STRAIGHT, since_1970_us};
use super::programs::{ENDS, Programs, STOPPED};
use super::report::Ran;
use super::row::{Fault, Kind, Phase, Row};
use super::store::{self, ADAPTER, HUB, MACHINES, Store};
use super::support::command::{code, stderr};
use anyhow::{Context, Result, bail, ensure};
use isotherm_tests::history::{Operation, Registers, felt};
use isotherm_tests::network::Network;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two questions how a migration is.
const LOOK: Duration = Duration::from_millis(250);

/// How long a row's migration may take, with a fault that is over in seconds and with one that lasts.
const LIMIT: Duration = Duration::from_secs(240);
const LASTING_LIMIT: Duration = Duration::from_secs(1_500);

/// Between two attempts of a client. The longer a row takes, the less its clients may keep others from the processor.
const PACE: Duration = Duration::from_millis(8);
const LASTING_PACE: Duration = Duration::from_millis(40);

/// What is asked for where nothing else helps.
const MEND: &str = "mend the link";

/// So often may a migration stop for its operator.
const MOST_STOPS: usize = 5;

/// So often may a store keep a migration from the phase that it is to be struck in.
const MOST_ATTEMPTS: usize = 5;

/// A store, its machines and programs, and what its clients know.
pub(crate) struct Lane {
    // What runs ends before the machines it runs on.
    programs: Programs,
    store: Box<dyn Store>,
    network: Network,
    registers: Registers,
}

/// A row under way.
struct Try {
    row: Row,
    id: String,
    /// All that were begun, that one last.
    ids: Vec<String>,
    source: usize,
    target: usize,
    /// Why it stopped for an operator, each time.
    stops: Vec<String>,
    /// The phase in which the fault struck.
    hit: String,
    /// A file that fills the target's disk.
    full: bool,
    /// When what failed was mended first, in microseconds since 1970.
    mended_us: Option<u64>,
}

/// Runs rows on a store that is made for them, and hands each result on as it comes. After a row that failed the store
/// is made anew.
pub(crate) fn run(kind: Kind, rows: Vec<Row>, done: &Sender<Ran>) -> Result<()> {
    let rows = Arc::new(Mutex::new(VecDeque::from(rows)));
    while !rows.lock().unwrap_or_else(PoisonError::into_inner).is_empty() {
        let network = Network::new(MACHINES)?;
        let hub = network.host(HUB).clone();
        let (rows, done) = (Arc::clone(&rows), done.clone());
        // A thread that the hub's own starts is on the hub, too, and leaves that one free to start processes.
        let lane = hub.run(move || thread::spawn(move || until_failure(kind, network, &rows, &done)))?;
        lane.join().map_err(|_| anyhow::anyhow!("the lane of {} panicked", kind.name()))??;
    }
    Ok(())
}

fn until_failure(
    kind: Kind,
    network: Network,
    rows: &Mutex<VecDeque<Row>>,
    done: &Sender<Ran>,
) -> Result<()> {
    let mut lane = Lane::start(kind, network).with_context(|| format!("start {}", kind.name()))?;
    let next = || rows.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some(row) = next() {
        let ran = lane.row(row);
        let failed = ran.failed.is_some();
        done.send(ran).context("nobody wants to know")?;
        if failed {
            break;
        }
    }
    Ok(())
}

impl Lane {
    /// To be called on the hub.
    fn start(kind: Kind, network: Network) -> Result<Self> {
        let store = store::start(kind, &network)?;
        let programs = Programs::start(kind, &*store, &network)?;
        Ok(Self { programs, store, network, registers: Registers::new() })
    }

    fn row(&mut self, row: Row) -> Ran {
        let begun = Instant::now();
        let mut ran = Ran::of(row);
        if let Err(error) = self.tried(row, &mut ran) {
            ran.failed = Some(format!("{error:#}{}", self.programs.logs()));
        }
        ran.seconds = begun.elapsed().as_secs_f64();
        ran
    }

    fn tried(&mut self, row: Row, ran: &mut Ran) -> Result<()> {
        let (source, target) = self.store.way()?;
        let (partition, from, to) =
            (self.store.partition(), self.store.node(source), self.store.node(target));
        self.programs.agreed(&partition, &from, &to).context("before the row")?;
        let pace = if Fault::LASTING.contains(&row.fault) { LASTING_PACE } else { PACE };
        let clients = Clients::start(&self.store.sessions(), &self.registers, source, row.seed, pace);
        clients.served()?;
        let mut tried = Try {
            row,
            id: String::new(),
            ids: Vec::new(),
            source,
            target,
            stops: Vec::new(),
            hit: String::new(),
            full: false,
            mended_us: None,
        };
        let moved = self.moved(&mut tried);
        (ran.stops, ran.hit) = (tried.stops.clone(), tried.hit.clone());
        let phase = moved?;
        ran.outcome.clone_from(&phase);
        self.ended(&tried, &phase)?;
        clients.served().context("after the row")?;
        let (registers, operations) = clients.stop()?;
        // Who goes straight to a server is refused from the switch on, as it must be.
        let told: Vec<Operation> = operations.iter().filter(|one| one.client != STRAIGHT).cloned().collect();
        ran.felt = felt(&told);
        ran.stale = self.histories(&tried, &registers, &operations)?;
        self.registers = registers;
        Ok(())
    }

    /// Begins a migration, strikes, and sees it through to its end; says which. One that the store ends before the phase is
    /// reached is begun anew.
    fn moved(&mut self, tried: &mut Try) -> Result<String> {
        self.plant(tried)?;
        for attempt in 1.. {
            tried.id = self.begin(tried)?;
            tried.ids.push(tried.id.clone());
            let struck = self.strike(tried)?;
            if struck {
                break;
            }
            let told = self.programs.status(&tried.id)?;
            let phase = told["phase"].as_str().unwrap_or_default();
            let anew = self.is_to_begin_anew(phase, &told) && attempt < MOST_ATTEMPTS;
            ensure!(anew, "it ended before {}: {told}", tried.row.phase.name());
        }
        let phase = self.followed(tried)?;
        self.mend(tried)?;
        self.uproot(tried)?;
        Ok(phase)
    }

    fn begin(&self, tried: &Try) -> Result<String> {
        let (partition, row) = (self.store.partition(), tried.row);
        let (from, to) = (self.store.node(tried.source), self.store.node(tried.target));
        let mut start: Vec<String> =
            ["migrate", "start", &partition, "--from", &from, "--to", &to, "--yes"].map(str::to_owned).into();
        if row.phase == Phase::Ready {
            start.push("--gated".to_owned());
        }
        if [Phase::Switched, Phase::Reversing].contains(&row.phase) {
            start.extend(["--probation", "10m"].map(str::to_owned));
        }
        if self.is_slow(row)
            && let Some(rate) = self.store.rate()
        {
            start.extend(["--rate".to_owned(), rate.to_string()]);
        }
        let start: Vec<&str> = start.iter().map(String::as_str).collect();
        let begun = self.programs.parsed(&start)?;
        Ok(begun["id"].as_str().context("a migration has an id")?.to_owned())
    }

    /// Whether copying must take long enough to be struck or stopped in its middle.
    fn is_slow(&self, row: Row) -> bool {
        [Phase::Replicating, Phase::Aborting].contains(&row.phase)
    }

    /// Waits for the end, and does what docs/migration.md says when it stops on the way.
    fn followed(&mut self, tried: &mut Try) -> Result<String> {
        let lasts = Fault::LASTING.contains(&tried.row.fault);
        let deadline = Instant::now() + if lasts { LASTING_LIMIT } else { LIMIT };
        loop {
            let told = self.programs.status(&tried.id)?;
            let phase = told["phase"].as_str().context("a phase")?.to_owned();
            if ENDS.contains(&phase.as_str()) {
                return Ok(phase);
            }
            if phase == STOPPED {
                self.resolve(tried, &told)?;
            } else if told["words"].as_str().is_some_and(|words| words.contains(MEND)) {
                self.mend(tried)?;
            }
            ensure!(Instant::now() < deadline, "it did not end: {told}");
            thread::sleep(LOOK);
        }
    }

    /// What an operator does with one that stopped: sees to it that what failed works again, and lets it go on; or takes a
    /// switch back whose copy is wrong.
    fn resolve(&mut self, tried: &mut Try, told: &Value) -> Result<()> {
        let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
        let (stopped_in, cause) = (text("stopped_in"), text("cause"));
        tried.stops.push(format!("{stopped_in}: {cause} ({})", text("words")));
        ensure!(tried.stops.len() <= MOST_STOPS, "it stopped again and again: {:#?}", tried.stops);
        self.mend(tried)?;
        self.told_is_so(tried, &stopped_in)?;
        let wrong_copy = tried.row.fault == Fault::Corrupt && stopped_in == Phase::Switched.name();
        self.programs.act(if wrong_copy { "reverse" } else { "retry" }, &tried.id)
    }

    /// Takes away whatever still fails.
    fn mend(&mut self, tried: &mut Try) -> Result<()> {
        for other in [ADAPTER, tried.source] {
            self.network.mend(tried.target, other)?;
        }
        self.fill(tried, false)?;
        self.store.start_all()?;
        self.programs.restore(&self.network)?;
        tried.mended_us.get_or_insert_with(since_1970_us);
        Ok(())
    }

    /// The exit code of `migrate watch` on one that has ended.
    fn watched(&self, id: &str) -> Result<i32> {
        let watched = self.programs.ask(&["migrate", "watch", id])?;
        match code(&watched) {
            Some(code) => Ok(code),
            None => bail!("migrate watch was killed: {}", stderr(&watched)),
        }
    }
}
