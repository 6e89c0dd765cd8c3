//! The thread that owns the probe: finds processes, learns names, cuts windows on time.
//!
//! A thread of its own, because all it does are short system calls at set times, and a busy runtime must not
//! delay a cut. Everything it holds is bounded by the configuration's limits.

mod reload;

pub use reload::Reload;

use crate::attribution::{Attribution, Devices};
use crate::config::Config;
use crate::discovery::Depth;
use crate::metrics::Telemetry;
use crate::mounts::{block_device, device_name, open_block_devices};
use crate::probe::{Probe, ProbeError};
use crate::service::Watchdog;
use crate::upkeep::Upkeep;
use crate::watched::Watched;
use crate::window::{Cutter, Host, Span, Told, Watching, WindowClock};
use isotherm_agent_ebpf::Part;
use isotherm_model::{Completeness, NodeId, Timestamp, Window};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;
use tracing::{error, warn};

/// How often names are fetched and messages of the kernel side shown. The ring of names holds about 1,500.
const POLL: Duration = Duration::from_millis(200);

/// A file may be evicted from a map that is nearly full after this time without an access.
const IDLE: Duration = Duration::from_secs(300);

/// Everything the thread owns.
pub struct Watcher {
    probe: Probe,
    watched: Watched,
    attribution: Attribution,
    cutter: Cutter,
    upkeep: Upkeep,
    clock: WindowClock,
    /// What the clock's monotonic time is counted from.
    started: Instant,
    nodes: Vec<NodeId>,
    host: Host,
    watching: Watching,
    /// Devices that are counted by stripes.
    devices: Vec<u32>,
    idle_windows: u64,
    /// Devices that locators may name: target and device.
    open: BTreeSet<(u32, u32)>,
    reloads: Option<Receiver<Reload>>,
    /// Who waits for what is staged.
    in_force: Option<oneshot::Sender<()>>,
    telemetry: Arc<Telemetry>,
}

impl Watcher {
    /// Takes over an attached probe.
    pub fn new(mut probe: Probe, config: &Config) -> Result<Self, ProbeError> {
        // The configuration admits windows of whole milliseconds up to an hour.
        let window_ms = config.window.as_millis() as u32;
        let started = Instant::now();
        let watching = Watching { layers: probe.layers(), latency: probe.has(Part::BlockLatency) };
        let mut watcher = Self {
            watched: Watched::new(&mut probe, &config.targets)?,
            probe,
            host: Host { agent: config.agent.clone(), device_name },
            watching,
            devices: Vec::new(),
            attribution: Attribution::new(&config.targets, config.limits.partitions),
            cutter: Cutter::default(),
            upkeep: Upkeep::default(),
            clock: WindowClock::new(window_ms, wall_clock(), 0),
            started,
            nodes: config.targets.iter().map(|target| target.node.clone()).collect(),
            open: BTreeSet::new(),
            reloads: None,
            in_force: None,
            telemetry: Arc::default(),
            idle_windows: (IDLE.as_millis() as u64).div_ceil(u64::from(window_ms)),
        };
        watcher.claim_devices()?;
        Ok(watcher)
    }

    /// Runs until `stop` is sent or dropped, or nobody takes the windows. `ready` is called once, with a
    /// line for people, when all processes that match are watched.
    pub fn run(
        mut self,
        stop: &Receiver<()>,
        windows: &Sender<Window>,
        ready: impl FnOnce(&str),
    ) -> Result<(), ProbeError> {
        self.watched.refresh(&mut self.probe, Depth::Full)?;
        // A process may have been born while /proc was read; the kernel side follows those of the second look.
        self.watched.refresh(&mut self.probe, Depth::Short)?;
        ready(&self.watched.summary());
        let mut watchdog = Watchdog::of_environment();
        loop {
            let until_end = Duration::from_millis(self.clock.until_end_ms(wall_clock()));
            let stopped = !matches!(
                stop.recv_timeout(POLL.min(until_end).min(watchdog.patience())),
                Err(RecvTimeoutError::Timeout)
            );
            // First the cut, which is due at a moment; the rest can wait.
            let now = wall_clock();
            let span = self.clock.cut(now, self.started.elapsed().as_millis() as u64);
            for span in span.into_iter().chain(stopped.then(|| self.clock.close(now))) {
                let window = self.cut(span)?;
                if windows.blocking_send(window).is_err() {
                    return Ok(());
                }
            }
            if stopped {
                return Ok(());
            }
            self.attribution.learn(self.probe.take_names());
            self.watched.look(&mut self.probe, self.started.elapsed())?;
            self.take_reload();
            watchdog.step();
        }
    }

    fn cut(&mut self, span: Span) -> Result<Window, ProbeError> {
        self.before_cut()?;
        self.attribution.set_viewers(self.watched.pids());
        let nodes = self.told();
        let mut round = self.cutter.round(&mut self.attribution, &self.watching);
        let totals = self.probe.visit(&mut round)?;
        // Names travel before the counts that they belong to, so none is missing that had room in the ring.
        round.attribute().learn(self.probe.take_names());
        let (mut window, unbalanced) = round.finish(&totals, span, &nodes, &self.host, &self.watching);
        for unbalanced in &unbalanced {
            error!("this window is not complete: {unbalanced}");
            self.telemetry.conservation_failed();
        }
        if !unbalanced.is_empty() || self.watched.take_found() {
            window.completeness = Completeness::Partial;
        }
        let Self { upkeep, probe, cutter, attribution, watched, idle_windows, .. } = self;
        upkeep.run(probe, cutter, attribution, *idle_windows, |target| watched.process_of(target))?;
        self.after_cut(&mut window)?;
        self.telemetry.window_cut(&window);
        self.tell_probe();
        Ok(window)
    }

    /// Every target, with how it is now.
    fn told(&self) -> Vec<Told> {
        let processes = self.watched.processes();
        let told = self.nodes.iter().zip(processes).enumerate();
        told.map(|(index, (node, processes))| Told {
            target: index as u32,
            node: node.clone(),
            processes,
            listening: self.watched.listening(index),
        })
        .collect()
    }

    /// Block devices that processes have open, for the targets of which locators name devices.
    fn open_devices(&self) -> BTreeSet<(u32, u32)> {
        let targets = self.attribution.locating_devices();
        let open = targets.into_iter().flat_map(|target| {
            let pids = self.watched.processes_of(target);
            pids.flat_map(open_block_devices).map(move |dev| (target, dev))
        });
        open.collect()
    }

    /// Counts by stripes what rules claim of devices, and by file what none claims any more.
    fn claim_devices(&mut self) -> Result<(), ProbeError> {
        self.open = self.open_devices();
        let Devices { claims, missing, disputed } = self.attribution.find_devices(block_device, &self.open);
        for (node, path) in missing {
            warn!("a rule of {node} names {}, which is no block device now", path.display());
        }
        for (dev, first, second) in disputed {
            warn!("rules of {first} and {second} name {}; it counts for {first}", device_name(dev));
        }
        for gone in self.devices.iter().filter(|dev| !claims.iter().any(|(claimed, _)| claimed == *dev)) {
            self.probe.release_device(*gone)?;
        }
        self.devices = claims.iter().map(|(dev, _)| *dev).collect();
        for (dev, stripes) in claims {
            if let Err(error) = self.probe.claim_device(dev, stripes) {
                warn!("{} is counted by file, not by its rules: {error}", device_name(dev));
            }
        }
        Ok(())
    }
}

/// Now, by the wall clock. Before 1970 it is 1970.
#[must_use]
pub fn wall_clock() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(since_epoch.as_millis() as u64)
}
