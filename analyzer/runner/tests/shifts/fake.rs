//! An adapter that keeps its promises of ShiftReads, and is cut off, refuses or hangs as it is told.

use isotherm_adapter::contract::{Refusal, refusal_to_status};
use isotherm_migration::{Reason, Term};
use isotherm_proto::adapter::v1 as wire;
use isotherm_proto::adapter::v1::migration_adapter_server::{MigrationAdapter, MigrationAdapterServer};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use wire::shift_reads_request::Shift;

/// What happens to a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It does not arrive.
    CallLost,
    /// It is done, and nobody hears of it.
    AnswerLost,
    /// It is refused.
    Refused(Reason),
    /// It does not return before it is done.
    HangsBefore,
    /// It is done, and does not return.
    HangsAfter,
}

/// What the adapter keeps.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) serving: u64,
    pub(crate) highest: u64,
    pub(crate) drained: Option<String>,
    pub(crate) leader: String,
    term: u64,
    requests: BTreeMap<String, wire::ShiftReadsResponse>,
    /// How often reads were moved.
    pub(crate) effects: u32,
    /// For the calls to come: questions, shifts and validations alike.
    pub(crate) faults: VecDeque<Fault>,
    /// Every call, in its order.
    pub(crate) heard: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Fake(Arc<Mutex<World>>);

impl Fake {
    /// Serves it. Returns its address, too.
    pub(crate) fn serve(runtime: &tokio::runtime::Handle) -> (Self, String) {
        let world = World {
            serving: 1,
            highest: 3,
            drained: None,
            leader: "a".to_owned(),
            term: 0,
            requests: BTreeMap::new(),
            effects: 0,
            faults: VecDeque::new(),
            heard: Vec::new(),
        };
        let fake = Self(Arc::new(Mutex::new(world)));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = MigrationAdapterServer::new(fake.clone());
        let server = tonic::transport::Server::builder().add_service(service);
        runtime.spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        (fake, url)
    }

    pub(crate) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    /// Notes a call, and has happen to it what is to.
    async fn begin(&self, what: String) -> Result<Fault, Status> {
        let fault = {
            let mut world = self.world();
            world.heard.push(what);
            world.faults.pop_front().unwrap_or(Fault::None)
        };
        match &fault {
            Fault::CallLost => Err(Status::unknown("cut off")),
            Fault::Refused(reason) => Err(refusal_to_status(&Refusal::new(reason.clone(), "as told"))),
            Fault::HangsBefore => std::future::pending().await,
            Fault::None | Fault::AnswerLost | Fault::HangsAfter => Ok(fault),
        }
    }
}

async fn end<T>(fault: &Fault, answer: T) -> Result<Response<T>, Status> {
    match fault {
        Fault::AnswerLost => Err(Status::unknown("cut off")),
        Fault::HangsAfter => std::future::pending().await,
        Fault::None | Fault::CallLost | Fault::Refused(_) | Fault::HangsBefore => Ok(Response::new(answer)),
    }
}

fn refusal(reason: Reason) -> Status {
    refusal_to_status(&Refusal::new(reason, "as the rules have it"))
}

impl World {
    fn hear(&mut self, term: u64) -> Result<(), Status> {
        if term < self.term {
            return Err(refusal(Reason::StaleTerm { seen: Term(self.term) }));
        }
        self.term = term;
        Ok(())
    }

    /// By the rules of the contract: the same request has the same answer, and epochs only rise.
    fn shift(&mut self, request: &wire::ShiftReadsRequest) -> Result<wire::ShiftReadsResponse, Status> {
        self.hear(request.term)?;
        if let Some(first) = self.requests.get(&request.request_id) {
            return Ok(first.clone());
        }
        if request.expected_epoch != self.serving || request.new_epoch < self.highest {
            return Err(refusal(Reason::StaleEpoch));
        }
        self.highest = request.new_epoch;
        let undo = match request.shift.clone().unwrap() {
            Shift::Leader(node) if self.leader == node => String::new(),
            Shift::Leader(node) => std::mem::replace(&mut self.leader, node),
            Shift::Drain(node) if self.drained.as_ref() == Some(&node) => String::new(),
            Shift::Drain(node) => self.drained.insert(node).clone(),
            Shift::Restore(node) if self.drained.as_ref() == Some(&node) => {
                self.drained = None;
                node
            }
            Shift::Restore(_) => String::new(),
        };
        if !undo.is_empty() {
            self.serving = request.new_epoch;
            self.effects += 1;
        }
        let answer = wire::ShiftReadsResponse { serving_epoch: self.serving, undo };
        self.requests.insert(request.request_id.clone(), answer.clone());
        Ok(answer)
    }
}

#[tonic::async_trait]
impl MigrationAdapter for Fake {
    async fn get_migration_state(
        &self,
        request: Request<wire::GetMigrationStateRequest>,
    ) -> Result<Response<wire::GetMigrationStateResponse>, Status> {
        let fault = self.begin("epochs".to_owned()).await?;
        let answer = {
            let mut world = self.world();
            world.hear(request.into_inner().term)?;
            wire::GetMigrationStateResponse {
                serving_epoch: world.serving,
                highest_epoch: world.highest,
                serves: wire::Side::Source.into(),
                ..wire::GetMigrationStateResponse::default()
            }
        };
        end(&fault, answer).await
    }

    async fn shift_reads(
        &self,
        request: Request<wire::ShiftReadsRequest>,
    ) -> Result<Response<wire::ShiftReadsResponse>, Status> {
        let request = request.into_inner();
        let fault = self.begin(format!("shift {}", request.request_id)).await?;
        let answer = self.world().shift(&request)?;
        end(&fault, answer).await
    }

    async fn validate_migration(
        &self,
        _: Request<wire::ValidateMigrationRequest>,
    ) -> Result<Response<wire::ValidateMigrationResponse>, Status> {
        self.begin("validate".to_owned()).await?;
        std::future::pending().await
    }
}
