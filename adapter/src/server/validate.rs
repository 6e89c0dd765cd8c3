//! Validations: they look, and leave nothing but the term. What came of the last ones is in memory, so that a repeated
//! one is answered as it was; after a restart it is looked again.

use super::desk::{Desk, guarded, within};
use super::{WAIT, now_ms};
use crate::contract::{Answer, Asked, Refusal};
use isotherm_migration::{Done, Reason, Validated};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Validations that are remembered.
const REMEMBERED: usize = 1_024;

/// Validations that look at a time.
const AT_A_TIME: usize = 32;

/// The last validations.
#[derive(Default)]
pub(super) struct Validations {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    known: HashMap<String, (Asked, watch::Receiver<Answer>)>,
    /// Names, the oldest first.
    order: VecDeque<String>,
}

impl Validations {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of one; `None` if it is not known.
    pub(super) fn fate(&self, request: &str) -> Option<Answer> {
        self.lock().known.get(request).map(|(_, answer)| answer.borrow().clone())
    }

    fn find(&self, request: &str) -> Option<(Asked, watch::Receiver<Answer>)> {
        self.lock().known.get(request).cloned()
    }

    fn remember(&self, asked: &Asked) -> Result<watch::Sender<Answer>, Refusal> {
        let mut inner = self.lock();
        let looking = inner.known.values().filter(|(_, answer)| *answer.borrow() == Answer::Running).count();
        if looking >= AT_A_TIME {
            let reason = Reason::Throttled { retry_after_ms: Some(1_000) };
            return Err(Refusal::new(reason, format!("{looking} validations are under way")));
        }
        let (tell, answer) = watch::channel(Answer::Running);
        inner.known.insert(asked.request_id.clone(), (asked.clone(), answer));
        inner.order.push_back(asked.request_id.clone());
        if inner.order.len() > REMEMBERED
            && let Some(oldest) = inner.order.pop_front()
        {
            inner.known.remove(&oldest);
        }
        Ok(tell)
    }
}

impl Desk {
    /// Looks whether a migration can be done.
    pub(super) async fn validate(self: &Arc<Self>, asked: Asked) -> Result<Answer, Refusal> {
        self.ledger.hear(asked.term)??;
        if let Some(first) = self.ledger.find(&asked.request_id)? {
            crate::ledger::rules::repeats(&first, &asked)?;
        }
        let mut answer = match self.validations.find(&asked.request_id) {
            Some((first, _)) if !first.repeats(&asked) => {
                let message = format!("request {} was made before with another content", asked.request_id);
                return Err(Refusal::new(Reason::AlreadyExists, message));
            }
            Some((_, answer)) => answer,
            None => {
                let tell = self.validations.remember(&asked)?;
                let answer = tell.subscribe();
                let desk = Arc::clone(self);
                self.tasks.spawn(async move {
                    let found = guarded(async move { desk.validated(&asked).await }).await;
                    tell.send_replace(
                        found.map_or_else(Answer::Refused, |done| Answer::Done(Done::Validated(done))),
                    );
                });
                answer
            }
        };
        let _ = tokio::time::timeout(WAIT, answer.wait_for(|answer| *answer != Answer::Running)).await;
        let told = answer.borrow().clone();
        Ok(told)
    }

    async fn validated(&self, asked: &Asked) -> Result<Validated, Refusal> {
        let seen = within(self.look(&asked.migration.partition)).await?;
        let found = self.store.validate(&asked.migration).await?;
        let partition = self.ledger.preview(&asked.migration.partition, &seen.look(), now_ms())?;
        Ok(Validated {
            serving: partition.serving,
            promised: partition.highest,
            findings: found.findings,
            copies: found.copies,
        })
    }
}
