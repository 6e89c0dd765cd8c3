//! From a snapshot to a plan: what is asked is done in the order of its urgency, by stages that share one view of
//! the cluster as it will be ([`work`]).

mod balance;
mod choose;
mod deal;
mod evacuate;
mod fill;
mod place;
mod postings;
mod refuse;
mod regime;
pub(crate) mod replay;
mod risk;
mod shed;
mod ways;
mod work;

use crate::ids::Node;
use crate::plan::Plan;
use crate::proactive::Outlook;
use crate::snapshot::Snapshot;
use work::Work;

/// What a plan is to do.
#[derive(Default)]
pub struct Request<'a> {
    /// Make again what nodes that are down held, empty those that drain, add replicas that are missing.
    pub repair: bool,
    /// Empty nodes that drain, and nothing else of a repair.
    pub drain: bool,
    /// Nodes whose capacity was lowered: bring them down to their share.
    pub shed: Vec<Node>,
    /// Nodes that are new, back or larger: bring them up to their share.
    pub fill: Vec<Node>,
    /// Move what is likely to hurt, by what the outlook says.
    pub risk: Option<Outlook<'a>>,
    /// Even out size and load.
    pub balance: bool,
}

/// Plans what is asked, as far as it is possible; what is not is among the plan's refusals.
///
/// The same snapshot and request give the same plan, whatever the number of threads. Planning the result again
/// proposes nothing.
#[must_use]
pub fn plan(snapshot: &Snapshot, request: &Request<'_>) -> Plan {
    let mut work = Work::new(snapshot);
    if evacuate::breaks(&mut work) {
        return work.finish();
    }
    work.filling.clone_from(&request.fill);
    if request.repair || request.drain {
        evacuate::run(&mut work, request.repair);
    }
    shed::run(&mut work, &request.shed);
    fill::run(&mut work, &request.fill);
    let filled = work.moves.len();
    if let Some(outlook) = &request.risk {
        risk::run(&mut work, outlook);
    }
    if request.balance {
        balance::run(&mut work);
    }
    if work.moves.len() > filled {
        fill::again(&mut work, &request.fill);
    }
    fill::refuse(&mut work, &request.fill);
    if request.repair {
        evacuate::restore(&mut work);
    }
    work.finish()
}
