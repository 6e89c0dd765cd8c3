//! An adapter as the contract wants it, and, if told, with a flaw.
//!
//! Requests, terms and epochs are durable; what runs is not. It crashes between the parts of a step, and finds out
//! at its start how far it came.

use crate::chance::Chance;
use crate::flaw::AdapterFlaw;
use crate::store::{Side, Store, WRITE_BYTES};
use isotherm_migration::{
    Copies, Done, Epoch, Fate, Fenced, MigrationId, Observation, Outcome, Path, Position, Progress, Question,
    Reason, Request, RequestId, Side as Served, Step, Term, Told, Validated, Verification, Warrant,
};
use std::collections::BTreeMap;

pub(crate) struct Adapter {
    pub(crate) store: Store,
    path: Path,
    flaw: AdapterFlaw,
    pub(crate) term: Term,
    /// The highest term that had an effect.
    acted: Term,
    pub(crate) promised: Epoch,
    requests: BTreeMap<RequestId, (Request, Fate)>,
    /// The step that runs.
    running: Option<Request>,
    verified: Option<Verification>,
    /// Steps of the engine until it has handed over.
    hand_over: u8,
    pub(crate) down: bool,
    pub(crate) throttled: bool,
}

const NOT_NOW: Reason = Reason::Transient { retry_after_ms: None };

impl Adapter {
    pub(crate) fn new(store: Store, path: Path, flaw: AdapterFlaw) -> Self {
        let promised = store.serving;
        // What an earlier migration of the partition found before it was aborted.
        let earlier = (flaw == AdapterFlaw::KeepsVerification).then(|| Verification {
            migration: MigrationId::new("m0").unwrap(),
            epoch: store.serving,
            evidence: "all writes".to_owned(),
        });
        Self {
            store,
            path,
            flaw,
            term: Term(0),
            acted: Term(0),
            promised,
            requests: BTreeMap::new(),
            running: None,
            verified: earlier,
            hand_over: 0,
            down: false,
            throttled: false,
        }
    }

    /// Takes a call; `None` if it crashes before it answers.
    pub(crate) fn perform(
        &mut self,
        term: Term,
        request: &Request,
        faults: u64,
        chance: &mut Chance,
    ) -> Option<Outcome> {
        if let Err(reason) = self.hear(term) {
            return Some(Outcome::Refused(reason));
        }
        if let Some((first, fate)) = self.requests.get(&request.id)
            && self.flaw != AdapterFlaw::ForgetsRequests
        {
            if first != request {
                return Some(Outcome::Refused(Reason::AlreadyExists));
            }
            return Some(match fate {
                Fate::Unheard | Fate::Running => Outcome::Accepted,
                Fate::Done(done) => Outcome::Done(done.clone()),
                Fate::Refused(reason) => Outcome::Refused(reason.clone()),
            });
        }
        if chance.percent(faults) {
            let reason =
                if chance.percent(50) { NOT_NOW } else { Reason::Throttled { retry_after_ms: Some(20) } };
            return Some(self.answer(request, Fate::Refused(reason)));
        }
        if let Some(epochs) = request.epochs {
            let stale = epochs.expected != self.store.serving || epochs.new < self.promised;
            let blind = self.flaw == AdapterFlaw::SkipsEpochs
                || (self.flaw == AdapterFlaw::UnfencesBlindly && request.step == Step::UnfenceSource);
            if stale && !blind {
                return Some(self.answer(request, Fate::Refused(Reason::StaleEpoch)));
            }
            self.promised = self.promised.max(epochs.new);
        }
        if term < self.acted {
            self.store.violations.push(format!("{term} acted after {}", self.acted));
        }
        self.acted = self.acted.max(term);
        // The intent is durable from here on.
        self.requests.insert(request.id.clone(), (request.clone(), Fate::Running));
        if chance.percent(faults / 2) {
            self.down = true;
            if chance.percent(50) {
                let fate = self.execute(request);
                self.settle(request, fate);
            }
            return None;
        }
        let fate = self.execute(request);
        Some(self.answer(request, fate))
    }

    /// Answers a question.
    pub(crate) fn ask(&mut self, term: Term, question: &Question) -> Told {
        if let Err(reason) = self.hear(term) {
            return Told::Refused(reason);
        }
        let fate = question
            .about
            .as_ref()
            .map(|id| self.requests.get(id).map_or(Fate::Unheard, |(_, fate)| fate.clone()));
        if self.store.serves == Side::Target {
            self.store.grounds.looked(self.store.now_ms, self.store.serving);
        }
        Told::State(Observation {
            fate,
            serving: self.store.serving,
            promised: self.promised,
            serves: match self.store.serves {
                Side::Source => Served::Source,
                Side::Target => Served::Target,
            },
            fenced: if self.store.fence.is_some() { Fenced::Yes } else { Fenced::No },
            progress: self.progress(),
        })
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        self.running.as_ref().map(|_| Progress {
            done: self.store.target.as_ref().map_or(0, |copy| copy.writes.len() as u64),
            total: None,
            lag_bytes: Some(self.store.missing() * WRITE_BYTES),
            throttled_by: self.throttled.then(|| "the rate it was given".to_owned()),
            resume: Some(format!("{}", self.store.missing())),
            handing_over: self.hand_over > 0,
        })
    }

    fn hear(&mut self, term: Term) -> Result<(), Reason> {
        if term < self.term && self.flaw != AdapterFlaw::SkipsTerms {
            return Err(Reason::StaleTerm { seen: self.term });
        }
        self.term = self.term.max(term);
        Ok(())
    }

    fn settle(&mut self, request: &Request, fate: Fate) {
        self.requests.insert(request.id.clone(), (request.clone(), fate));
    }

    fn answer(&mut self, request: &Request, fate: Fate) -> Outcome {
        self.settle(request, fate.clone());
        match fate {
            Fate::Unheard | Fate::Running => Outcome::Accepted,
            Fate::Done(done) => Outcome::Done(done),
            Fate::Refused(reason) => Outcome::Refused(reason),
        }
    }

    /// Starts again: what ran goes on or has failed, what was only intended is done or refused.
    pub(crate) fn restart(&mut self, chance: &mut Chance) {
        self.down = false;
        let running = self.running.take();
        let open: Vec<Request> = self
            .requests
            .values()
            .filter(|(_, fate)| matches!(fate, Fate::Running))
            .map(|(request, _)| request.clone())
            .collect();
        for request in open {
            // An engine's own task outlives its adapter.
            let goes_on = self.path == Path::Engine || chance.percent(50);
            let ran = running.as_ref() == Some(&request);
            let fate = match (goes_on, ran) {
                (true, true) => {
                    self.running = Some(request.clone());
                    Fate::Running
                }
                (true, false) => self.execute(&request),
                (false, _) => Fate::Refused(NOT_NOW),
            };
            self.settle(&request, fate);
        }
    }

    /// The last stream of progress is over.
    pub(crate) fn unwatched(&mut self) {
        if self.flaw == AdapterFlaw::StopsUnwatched
            && let Some(request) = self.running.take()
        {
            self.undo_hand_over();
            self.settle(&request, Fate::Refused(NOT_NOW));
        }
    }

    /// Some time passes: what runs goes on.
    pub(crate) fn tick(&mut self, chance: &mut Chance) {
        if self.store.link && !self.throttled {
            self.store.copy(3);
        }
        let Some(request) = self.running.clone().filter(|_| !self.down) else { return };
        let lost = self.needs_source(&request.step) && !self.store.source_alive;
        let fate = if lost || !self.store.target_alive {
            // A copy whose node is gone fails sooner or later.
            if !chance.percent(10) {
                return;
            }
            self.undo_hand_over();
            Fate::Refused(if self.store.source_lost && lost { Reason::NoLiveCopy } else { NOT_NOW })
        } else {
            self.advance(&request)
        };
        if fate != Fate::Running {
            self.running = None;
            self.settle(&request, fate);
        }
    }

    fn advance(&mut self, request: &Request) -> Fate {
        match &request.step {
            Step::StartReplication { .. } => {
                if !self.throttled {
                    self.store.copy(8);
                }
                if self.store.missing() > 0 && self.hand_over == 0 {
                    return Fate::Running;
                }
                if self.path != Path::Engine {
                    self.store.link = true;
                    return Fate::Done(Done::Replicated);
                }
                self.hand_over(request)
            }
            Step::AwaitCatchup { position, max_lag_bytes } => {
                let lag_bytes = match position {
                    None => self.store.missing() * WRITE_BYTES,
                    Some(position) => {
                        let have = self.store.target.as_ref().map_or(0, |copy| copy.writes.len() as u64);
                        position.0.parse::<u64>().unwrap().saturating_sub(have) * WRITE_BYTES
                    }
                };
                if lag_bytes > *max_lag_bytes {
                    Fate::Running
                } else {
                    Fate::Done(Done::CaughtUp { lag_bytes })
                }
            }
            Step::Verify => {
                let compares = match self.flaw {
                    AdapterFlaw::VerifiesBlindly => false,
                    AdapterFlaw::KeepsVerification => self.verified.is_none(),
                    AdapterFlaw::None
                    | AdapterFlaw::SkipsEpochs
                    | AdapterFlaw::SkipsTerms
                    | AdapterFlaw::UnfencesBlindly
                    | AdapterFlaw::ForgetsRequests
                    | AdapterFlaw::AbortLeavesSlot
                    | AdapterFlaw::TakesAnyWarrant
                    | AdapterFlaw::StopsUnwatched => true,
                };
                if compares && !self.store.equal() {
                    return Fate::Refused(Reason::Mismatch);
                }
                if compares {
                    self.store.grounds.passed(&request.id.migration, self.store.serving);
                }
                let verification = Verification {
                    migration: request.id.migration.clone(),
                    epoch: self.store.serving,
                    evidence: "all writes".to_owned(),
                };
                self.verified = Some(verification.clone());
                Fate::Done(Done::Verified(verification))
            }
            Step::ValidateMigration
            | Step::PrepareTarget
            | Step::FenceSource
            | Step::CommitSwitch { .. }
            | Step::UnfenceSource
            | Step::ReverseSwitch
            | Step::RetireSource
            | Step::Abort => panic!("{:?} does not run", request.step),
        }
    }

    /// The engine stops writes, copies the last ones and switches.
    fn hand_over(&mut self, request: &Request) -> Fate {
        self.hand_over += 1;
        if let Some(source) = &mut self.store.source {
            source.open = false;
        }
        if self.hand_over < 4 {
            return Fate::Running;
        }
        self.hand_over = 0;
        self.store.copy(usize::MAX);
        self.switch(request, None);
        Fate::Done(Done::Replicated)
    }

    /// The target serves from now on.
    fn switch(&mut self, request: &Request, warrant: Option<&Warrant>) {
        self.serve(Side::Target, request);
        self.store.grounds.switched(self.store.now_ms, self.store.serving, warrant);
    }

    fn serve(&mut self, side: Side, request: &Request) {
        let (mut source, mut target) = (self.store.source.take(), self.store.target.take());
        for (copy, of) in [(&mut source, Side::Source), (&mut target, Side::Target)] {
            if let Some(copy) = copy {
                copy.open = of == side;
            }
        }
        (self.store.source, self.store.target) = (source, target);
        self.store.serves = side;
        self.store.switched_at = self.store.target.as_ref().map_or(0, |copy| copy.writes.len());
        self.store.fence = None;
        self.store.link = false;
        let new = request.epochs.unwrap().new;
        if new <= self.store.serving && self.flaw == AdapterFlaw::None {
            self.store.violations.push("an epoch fell".to_owned());
        }
        self.store.serving = new;
    }

    fn needs_source(&self, step: &Step) -> bool {
        match step {
            Step::StartReplication { .. }
            | Step::AwaitCatchup { .. }
            | Step::FenceSource
            | Step::UnfenceSource
            | Step::ReverseSwitch => true,
            Step::Verify => self.store.serves == Side::Source,
            Step::ValidateMigration
            | Step::PrepareTarget
            | Step::CommitSwitch { .. }
            | Step::RetireSource
            | Step::Abort => false,
        }
    }

    fn needs_target(step: &Step) -> bool {
        match step {
            Step::ValidateMigration | Step::FenceSource | Step::UnfenceSource | Step::RetireSource => false,
            Step::PrepareTarget
            | Step::StartReplication { .. }
            | Step::AwaitCatchup { .. }
            | Step::Verify
            | Step::CommitSwitch { .. }
            | Step::ReverseSwitch
            | Step::Abort => true,
        }
    }

    fn execute(&mut self, request: &Request) -> Fate {
        if self.needs_source(&request.step) && !self.store.source_alive {
            return Fate::Refused(if self.store.source_lost { Reason::NoLiveCopy } else { NOT_NOW });
        }
        if Self::needs_target(&request.step) && !self.store.target_alive {
            return Fate::Refused(NOT_NOW);
        }
        let done = match &request.step {
            Step::ValidateMigration => Done::Validated(Validated {
                serving: self.store.serving,
                promised: self.promised,
                findings: Vec::new(),
                copies: if self.store.source_lost { Copies::Lost } else { Copies::Live },
            }),
            Step::PrepareTarget => {
                self.store.target.get_or_insert_default();
                self.store.slot = true;
                Done::Prepared
            }
            Step::StartReplication { .. } | Step::AwaitCatchup { .. } | Step::Verify => {
                if self.store.target.is_none() {
                    return Fate::Refused(Reason::Conflict);
                }
                if matches!(request.step, Step::StartReplication { .. }) {
                    self.void();
                }
                self.running = Some(request.clone());
                return Fate::Running;
            }
            Step::FenceSource => {
                let Some(source) = &mut self.store.source else { return Fate::Refused(Reason::Conflict) };
                source.open = false;
                let position = Position(source.writes.len().to_string());
                self.store.fence = request.epochs.map(|epochs| epochs.new);
                Done::Fenced { position }
            }
            Step::CommitSwitch { warrant } => return self.commit(request, warrant),
            Step::UnfenceSource => {
                let Some(source) = &mut self.store.source else { return Fate::Refused(Reason::Conflict) };
                source.open = true;
                self.store.fence = None;
                self.void();
                Done::Unfenced
            }
            Step::ReverseSwitch => {
                let (Some(source), Some(target)) = (&mut self.store.source, &self.store.target) else {
                    return Fate::Refused(Reason::Conflict);
                };
                source.writes.extend(target.writes.iter().skip(self.store.switched_at));
                self.serve(Side::Source, request);
                self.void();
                Done::Reversed
            }
            Step::RetireSource => {
                if self.store.serves != Side::Target {
                    self.store.violations.push("the serving copy was retired".to_owned());
                }
                let (store, migration) = (&mut self.store, &request.id.migration);
                if let Err(violation) = store.grounds.may_retire(store.now_ms, migration, store.serving) {
                    store.violations.push(violation);
                }
                if !self.store.mirrored {
                    self.store.source = None;
                }
                (self.store.slot, self.store.link) = (false, false);
                Done::Retired
            }
            Step::Abort => {
                if let Some(request) = self.running.take() {
                    self.settle(&request, Fate::Refused(Reason::Conflict));
                    self.undo_hand_over();
                }
                self.void();
                self.store.target = None;
                self.store.slot = self.flaw == AdapterFlaw::AbortLeavesSlot;
                self.store.link = false;
                Done::Aborted
            }
        };
        Fate::Done(done)
    }

    /// What was compared counts no longer: the copy is made anew or goes, or writes go on.
    fn void(&mut self) {
        self.store.grounds.void();
        if self.flaw != AdapterFlaw::KeepsVerification {
            self.verified = None;
        }
    }

    fn undo_hand_over(&mut self) {
        if self.hand_over > 0 {
            self.hand_over = 0;
            if let Some(source) = &mut self.store.source {
                source.open = true;
            }
        }
    }

    fn commit(&mut self, request: &Request, warrant: &Warrant) -> Fate {
        let new = request.epochs.unwrap().new;
        let verified = match warrant {
            Warrant::Verified(_) if self.flaw == AdapterFlaw::TakesAnyWarrant => true,
            Warrant::Verified(verification) => {
                self.verified.as_ref() == Some(verification) && verification.epoch == self.store.serving
            }
            Warrant::DataLoss(_) => true,
        };
        let (store, migration) = (&mut self.store, &request.id.migration);
        // A good adapter would refuse it; nobody should have asked.
        if let Err(violation) = store.grounds.may_switch(migration, store.serving, warrant) {
            store.violations.push(violation);
        }
        if !verified {
            return Fate::Refused(Reason::Mismatch);
        }
        let loss = matches!(warrant, Warrant::DataLoss(_));
        let fenced = self.store.fence == Some(new) || loss || self.path == Path::Repair;
        if (!fenced && self.flaw != AdapterFlaw::SkipsEpochs) || self.store.target.is_none() {
            return Fate::Refused(Reason::Conflict);
        }
        if self.path == Path::Repair && !loss {
            if !self.store.source_alive {
                return Fate::Refused(NOT_NOW);
            }
            self.store.copy(usize::MAX);
            self.switch(request, Some(warrant));
            self.store.mirrored = true;
            if let Some(survivor) = &mut self.store.source {
                survivor.open = true;
            }
        } else {
            self.switch(request, Some(warrant));
        }
        Fate::Done(Done::Committed)
    }
}
