//! Adapters that keep the contract of migrations, over partitions of which only is known who serves and what is left.
//!
//! They check what they are asked for: that the intent is in the diary before the call comes, that a switch has its
//! verification and its fence, that no source goes that serves, and that no more is under way than may be.

use isotherm_adapter::contract::{Answer, Asked, Refusal, done_to_wire, fate_to_wire, refusal_to_status};
use isotherm_adapter::contract::{side_to_wire, warrant_from_wire};
use isotherm_migration::{
    Copies, Done, Epoch, Origin, Position, Reason, Side, Step, Switch, Term, Validated, Verification, Warrant,
};
use isotherm_model::{NodeId, SystemId};
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::adapter::v1::migration_adapter_server::{MigrationAdapter, MigrationAdapterServer};
use isotherm_runner::Kind;
use isotherm_runner::journal::{Diary, Reading};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Questions after which a copy is done.
const COPY: u32 = 3;

/// When the runner dies, seen from a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// It has been made, and has no effect yet.
    Before,
    /// It has its effect, and nobody has heard of it.
    After,
}

/// A partition.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub(crate) serving: u64,
    highest: u64,
    pub(crate) switched: bool,
    pub(crate) copy: bool,
    pub(crate) source_gone: bool,
    pub(crate) fence: Option<u64>,
    verified: Option<Verification>,
    /// How often it was switched, and how often a source was removed.
    pub(crate) effects: [u32; 2],
}

/// What may be under way at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) all: usize,
    pub(crate) per_node: usize,
    /// Of each system, by its name.
    pub(crate) takes: fn(&str) -> usize,
}

pub(crate) struct World {
    pub(crate) parts: BTreeMap<String, Part>,
    term: u64,
    requests: BTreeMap<String, (Asked, Answer)>,
    /// Copies that run: questions until they are done.
    running: BTreeMap<String, u32>,
    /// Every call and question, in its order.
    pub(crate) heard: Vec<String>,
    /// At which call the runner dies, counted from 0, and when.
    pub(crate) strike: Option<(usize, When)>,
    pub(crate) stop: CancellationToken,
    diary: Option<Reading>,
    pub(crate) bounds: Option<Bounds>,
    /// Migrations between their first call and their last: their system and nodes.
    under_way: BTreeMap<String, (SystemId, [NodeId; 2])>,
    /// The most that was under way: of all, of a system, of a node.
    pub(crate) most: [usize; 3],
    /// Chance of faults: calls that are lost, answers that are lost, refusals for the moment.
    pub(crate) chance: Option<fastrand::Rng>,
    /// What must never be.
    pub(crate) violations: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Fake {
    world: Arc<Mutex<World>>,
    system: SystemId,
    switch: Switch,
}

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    CallLost,
    AnswerLost,
    NotNow,
    HangsBefore,
    HangsAfter,
}

impl Part {
    /// Whether the target serves, and nothing else is left; each happened once.
    pub(crate) fn is_moved(&self) -> bool {
        self.switched && self.copy && self.source_gone && self.fence.is_none() && self.effects == [1, 1]
    }
}

impl World {
    pub(crate) fn new(diary: Option<Reading>) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            parts: BTreeMap::new(),
            term: 0,
            requests: BTreeMap::new(),
            running: BTreeMap::new(),
            heard: Vec::new(),
            strike: None,
            stop: CancellationToken::new(),
            diary,
            bounds: None,
            under_way: BTreeMap::new(),
            most: [0; 3],
            chance: None,
            violations: Vec::new(),
        }))
    }

    fn part(&mut self, name: &str) -> &mut Part {
        self.parts.entry(name.to_owned()).or_insert_with(|| Part {
            serving: 1,
            highest: 3,
            ..Part::default()
        })
    }

    fn must(&mut self, holds: bool, what: &str) {
        if !holds {
            self.violations.push(what.to_owned());
        }
    }

    /// Notes a call, and says what happens to it.
    fn hear(&mut self, what: String, validates: bool) -> Fault {
        let number = self.heard.len();
        self.heard.push(what);
        if let Some((at, when)) = self.strike
            && at == number
        {
            self.stop.cancel();
            return match when {
                When::Before => Fault::HangsBefore,
                When::After => Fault::HangsAfter,
            };
        }
        let Some(chance) = &mut self.chance else { return Fault::None };
        match chance.u32(0..40) {
            0 => Fault::CallLost,
            1 => Fault::AnswerLost,
            2 if !validates => Fault::NotNow,
            _ => Fault::None,
        }
    }

    fn obey(&mut self, term: Term) -> Result<(), Refusal> {
        if term.0 < self.term {
            return Err(Refusal::new(Reason::StaleTerm { seen: Term(self.term) }, "an old controller"));
        }
        self.term = term.0;
        Ok(())
    }

    /// The intent is written before the call is made.
    fn check_intent(&mut self, asked: &Asked) {
        let Some(diary) = &self.diary else { return };
        let all = Diary { limit: 10_000, ..Diary::default() };
        let lines = diary.diary(&all).unwrap();
        let told = lines.iter().any(|line| line.kind == Kind::Call && line.what == asked.request_id);
        self.must(told, &format!("{} came before its intent was written", asked.request_id));
    }

    /// From the first call of a migration to its last.
    fn check_bounds(&mut self, asked: &Asked) {
        let moved = &asked.migration;
        let nodes = [moved.origin.node().clone(), moved.target.clone()];
        self.under_way.insert(moved.id.to_string(), (moved.partition.system().clone(), nodes.clone()));
        let count = |which: &dyn Fn(&SystemId, &[NodeId; 2]) -> bool| {
            self.under_way.values().filter(|(system, nodes)| which(system, nodes)).count()
        };
        let all = count(&|_, _| true);
        let system = moved.partition.system();
        let here = count(&|of, _| of == system);
        let node = nodes.iter().map(|node| count(&|_, of| of.contains(node))).max().unwrap_or(0);
        for (most, now) in self.most.iter_mut().zip([all, here, node]) {
            *most = (*most).max(now);
        }
        let Some(Bounds { all: most, per_node, takes }) = self.bounds else { return };
        self.must(all <= most, &format!("{all} are under way"));
        self.must(here <= takes(system.as_str()), &format!("{here} are under way in {system}"));
        self.must(node <= per_node, &format!("a node has {node}"));
    }

    fn perform(&mut self, asked: &Asked, fake: &Fake) -> Result<Answer, Refusal> {
        self.obey(asked.term)?;
        if let Some((first, answer)) = self.requests.get(&asked.request_id) {
            let same = first.repeats(asked);
            let answer = answer.clone();
            if let Answer::Done(Done::Retired | Done::Aborted) = answer {
                self.under_way.remove(asked.migration.id.as_str());
            }
            self.must(same, &format!("{} is two different requests", asked.request_id));
            return match answer {
                Answer::Refused(refusal) => Err(refusal),
                answer @ (Answer::Unheard | Answer::Running | Answer::Done(_)) => Ok(answer),
            };
        }
        let answer = self.execute(asked, fake)?;
        self.requests.insert(asked.request_id.clone(), (asked.clone(), answer.clone()));
        Ok(answer)
    }

    fn execute(&mut self, asked: &Asked, fake: &Fake) -> Result<Answer, Refusal> {
        let moved = &asked.migration;
        let name = moved.partition.to_string();
        let part = self.part(&name);
        let new = asked.epochs.map_or(part.highest, |epochs| epochs.new.0);
        if asked.epochs.is_some_and(|epochs| epochs.expected.0 != part.serving || new < part.highest) {
            return Err(Refusal::new(Reason::StaleEpoch, "by the rules"));
        }
        part.highest = new;
        let done = match &asked.step {
            Step::ValidateMigration => Done::Validated(Validated {
                serving: Epoch(part.serving),
                promised: Epoch(part.highest),
                findings: Vec::new(),
                copies: Copies::Live,
            }),
            Step::PrepareTarget => {
                (part.copy, part.verified) = (true, None);
                Done::Prepared
            }
            Step::StartReplication { .. } => {
                part.verified = None;
                self.running.insert(asked.request_id.clone(), COPY);
                return Ok(Answer::Running);
            }
            Step::AwaitCatchup { .. } => Done::CaughtUp { lag_bytes: 0 },
            Step::Verify => {
                let epoch = Epoch(part.serving);
                let verification =
                    Verification { migration: moved.id.clone(), epoch, evidence: "9 rows".to_owned() };
                part.verified = Some(verification.clone());
                Done::Verified(verification)
            }
            Step::FenceSource => {
                part.fence = Some(new);
                Done::Fenced { position: Position("9".to_owned()) }
            }
            Step::CommitSwitch { warrant } => {
                let verified = matches!((warrant, &part.verified), (Warrant::Verified(one), Some(other)) if one == other);
                let fenced = part.fence == Some(new) || matches!(moved.origin, Origin::Repair { .. });
                self.switch(&name, new);
                self.must(verified, &format!("{} has no verification", asked.request_id));
                self.must(fenced, &format!("{} has no fence", asked.request_id));
                Done::Committed
            }
            Step::UnfenceSource => {
                (part.fence, part.verified) = (None, None);
                Done::Unfenced
            }
            Step::ReverseSwitch => {
                (part.switched, part.serving) = (false, new);
                Done::Reversed
            }
            Step::RetireSource => {
                let fits = part.switched && (part.verified.is_some() || fake.switch == Switch::Gated);
                part.source_gone = true;
                part.effects[1] += 1;
                self.under_way.remove(moved.id.as_str());
                self.must(fits, &format!("{} removes what serves or was not compared", asked.request_id));
                Done::Retired
            }
            Step::Abort => {
                (part.copy, part.fence, part.verified) = (false, None, None);
                self.under_way.remove(moved.id.as_str());
                Done::Aborted
            }
        };
        Ok(Answer::Done(done))
    }

    fn switch(&mut self, partition: &str, epoch: u64) {
        let part = self.part(partition);
        (part.switched, part.serving, part.fence) = (true, epoch, None);
        part.effects[0] += 1;
    }

    /// The fate of a request; a copy that runs goes on by being asked about.
    fn fate(&mut self, request: &str, fake: &Fake) -> Answer {
        let Some((asked, _)) = self.requests.get(request).cloned() else { return Answer::Unheard };
        if let Some(left) = self.running.get_mut(request) {
            *left -= 1;
            if *left == 0 {
                self.running.remove(request);
                if fake.switch == Switch::EngineAtomic
                    && matches!(asked.migration.origin, Origin::Move { .. })
                {
                    let new = asked.epochs.unwrap().new.0;
                    self.switch(&asked.migration.partition.to_string(), new);
                }
                self.requests.get_mut(request).unwrap().1 = Answer::Done(Done::Replicated);
            }
        }
        self.requests[request].1.clone()
    }
}

impl Fake {
    /// Serves the adapter of a system. Returns its address, too.
    pub(crate) fn serve(
        world: &Arc<Mutex<World>>,
        runtime: &tokio::runtime::Handle,
        system: &SystemId,
        switch: Switch,
    ) -> String {
        let fake = Self { world: Arc::clone(world), system: system.clone(), switch };
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder().add_service(MigrationAdapterServer::new(fake));
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        url
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap()
    }

    async fn step(&self, call: Option<wire::Call>, step: Step) -> Result<Option<wire::StepOutcome>, Status> {
        let asked =
            Asked::from_wire(&self.system, call, step).map_err(|bad| Status::unknown(bad.to_string()))?;
        let fault = {
            let mut world = self.world();
            world.check_intent(&asked);
            world.check_bounds(&asked);
            world.hear(asked.request_id.clone(), asked.step == Step::ValidateMigration)
        };
        begin(fault).await?;
        let answer = self.world().perform(&asked, self).map_err(|refusal| refusal_to_status(&refusal))?;
        end(fault).await?;
        let outcome = match answer {
            Answer::Done(done) => wire::step_outcome::Outcome::Done(done_to_wire(&done)),
            Answer::Unheard | Answer::Running | Answer::Refused(_) => {
                wire::step_outcome::Outcome::Running(wire::Running {})
            }
        };
        Ok(Some(wire::StepOutcome { outcome: Some(outcome) }))
    }
}

/// What happens to a call before it has an effect.
async fn begin(fault: Fault) -> Result<(), Status> {
    match fault {
        Fault::CallLost => Err(Status::unknown("cut off")),
        Fault::NotNow => {
            let reason = Reason::Transient { retry_after_ms: None };
            Err(refusal_to_status(&Refusal::new(reason, "busy")))
        }
        Fault::HangsBefore => std::future::pending().await,
        Fault::None | Fault::AnswerLost | Fault::HangsAfter => Ok(()),
    }
}

/// What happens to a call after its effect.
async fn end(fault: Fault) -> Result<(), Status> {
    match fault {
        Fault::AnswerLost => Err(Status::unknown("cut off")),
        Fault::HangsAfter => std::future::pending().await,
        Fault::None | Fault::CallLost | Fault::NotNow | Fault::HangsBefore => Ok(()),
    }
}

macro_rules! steps {
    ($($method:ident $request:ident $response:ident |$raw:ident| $step:expr;)*) => {
        #[tonic::async_trait]
        impl MigrationAdapter for Fake {
            $(async fn $method(
                &self,
                request: Request<wire::$request>,
            ) -> Result<Response<wire::$response>, Status> {
                let $raw = request.into_inner();
                let step = $step;
                let outcome = self.step($raw.call, step).await?;
                Ok(Response::new(wire::$response { outcome }))
            })*

            async fn get_migration_state(
                &self,
                request: Request<wire::GetMigrationStateRequest>,
            ) -> Result<Response<wire::GetMigrationStateResponse>, Status> {
                self.state(request.into_inner()).await
            }
        }
    };
}

steps! {
    validate_migration ValidateMigrationRequest ValidateMigrationResponse |raw| Step::ValidateMigration;
    prepare_target PrepareTargetRequest PrepareTargetResponse |raw| Step::PrepareTarget;
    start_replication StartReplicationRequest StartReplicationResponse |raw| Step::StartReplication {
        resume: Some(raw.resume_token).filter(|token| !token.is_empty()),
        bytes_per_s: raw.bytes_per_second,
    };
    await_catchup AwaitCatchupRequest AwaitCatchupResponse |raw| Step::AwaitCatchup {
        position: Some(Position(raw.position)).filter(|position| !position.0.is_empty()),
        max_lag_bytes: raw.max_lag_bytes,
    };
    verify VerifyRequest VerifyResponse |raw| Step::Verify;
    fence_source FenceSourceRequest FenceSourceResponse |raw| Step::FenceSource;
    commit_switch CommitSwitchRequest CommitSwitchResponse |raw| Step::CommitSwitch {
        warrant: warrant_from_wire(raw.warrant).map_err(|bad| Status::unknown(bad.to_string()))?,
    };
    unfence_source UnfenceSourceRequest UnfenceSourceResponse |raw| Step::UnfenceSource;
    reverse_switch ReverseSwitchRequest ReverseSwitchResponse |raw| Step::ReverseSwitch;
    retire_source RetireSourceRequest RetireSourceResponse |raw| Step::RetireSource;
    abort AbortRequest AbortResponse |raw| Step::Abort;
}

impl Fake {
    async fn state(
        &self,
        asked: wire::GetMigrationStateRequest,
    ) -> Result<Response<wire::GetMigrationStateResponse>, Status> {
        let fault = self.world().hear(format!("? {}", asked.request_id), false);
        begin(fault).await?;
        let answer = {
            let mut world = self.world();
            world.obey(Term(asked.term)).map_err(|refusal| refusal_to_status(&refusal))?;
            let about = Some(asked.request_id.as_str()).filter(|request| !request.is_empty());
            let fate = about.map(|request| fate_to_wire(&world.fate(request, self)));
            let part = world.part(&format!("{}/{}", self.system, asked.partition));
            wire::GetMigrationStateResponse {
                fate,
                serving_epoch: part.serving,
                highest_epoch: part.highest,
                serves: side_to_wire(if part.switched { Side::Target } else { Side::Source }).into(),
                fenced: part.fence.is_some(),
                ..wire::GetMigrationStateResponse::default()
            }
        };
        end(fault).await?;
        Ok(Response::new(answer))
    }
}
