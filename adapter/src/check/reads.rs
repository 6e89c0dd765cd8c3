//! A story of reads that are shifted.

use super::bench::Bench;
use super::{Verdict, Why, failed, must, skipped};
use crate::contract::{Refusal, refusal_from_status};
use isotherm_migration::{Epoch, Reason};
use isotherm_proto::ShiftReads;
use isotherm_proto::adapter::v1 as wire;
use std::time::Duration;
use wire::shift_reads_request::Shift;

pub(super) async fn shift(bench: &mut Bench) -> Verdict {
    let subject = bench.subject().await?;
    let mut trial = bench.trial().await?;
    let (leader, other) = match &subject.holders[..] {
        [leader, other, ..] => (leader.name().to_owned(), other.name().to_owned()),
        _ => return skipped(format!("only one node holds {}", subject.partition)),
    };
    let (there, back): (Shift, fn(String) -> Shift) = match bench.capabilities.shift_reads {
        ShiftReads::None => return skipped("the adapter does not shift reads"),
        ShiftReads::LeaderSwitch => (Shift::Leader(other), Shift::Leader),
        ShiftReads::DrainReplica => (Shift::Drain(leader), Shift::Restore),
    };
    let (request, answer) = shifted(bench, trial.serving, trial.new, there.clone()).await?;
    must(!answer.undo.is_empty(), || "reads were shifted, and nothing would undo it".to_owned())?;
    must(answer.serving_epoch > trial.serving.0, || {
        format!("reads were shifted, and epoch {} still serves", answer.serving_epoch)
    })?;
    let again = bench.client.shift_reads(request.clone()).await;
    let again = again.map_err(|status| Why::Failed(format!("ShiftReads, repeated: {status}")))?.into_inner();
    must(again == answer, || format!("ShiftReads was answered with {answer:?}, and then with {again:?}"))?;
    let other = wire::ShiftReadsRequest { new_epoch: request.new_epoch + 1, ..request };
    refused(bench, other, &Reason::AlreadyExists, "with another content").await?;
    let mut old = request_of(bench, &trial.migration.partition, trial.serving, trial.new.next(), there);
    old.request_id.push_str("-late");
    refused(bench, old, &Reason::StaleEpoch, "of an epoch that does not serve any more").await?;
    let serving = Epoch(answer.serving_epoch);
    let (_, undone) = shifted(bench, serving, serving.next().next(), back(answer.undo)).await?;
    must(undone.serving_epoch > serving.0, || "reads were shifted back under the same epoch".to_owned())?;
    bench.leads(&subject.holders[0], "after reads were shifted back").await?;
    trial.learn().await?;
    must(trial.serving.0 == undone.serving_epoch, || {
        "a validation knows another epoch than ShiftReads".to_owned()
    })
}

fn request_of(
    bench: &Bench,
    partition: &isotherm_model::PartitionId,
    expected: Epoch,
    new: Epoch,
    shift: Shift,
) -> wire::ShiftReadsRequest {
    wire::ShiftReadsRequest {
        request_id: format!("check/{}/{expected}/{new}", uuid::Uuid::new_v4().simple()),
        term: bench.term.0,
        partition: partition.name().to_owned(),
        expected_epoch: expected.0,
        new_epoch: new.0,
        shift: Some(shift),
    }
}

async fn shifted(
    bench: &mut Bench,
    expected: Epoch,
    new: Epoch,
    shift: Shift,
) -> Result<(wire::ShiftReadsRequest, wire::ShiftReadsResponse), Why> {
    let Some(subject) = bench.subject.clone() else { return failed("no partition was found") };
    for _ in 0..60 {
        let request = request_of(bench, &subject.partition, expected, new, shift.clone());
        match bench.client.shift_reads(request.clone()).await {
            Ok(answer) => return Ok((request, answer.into_inner())),
            Err(status) => match refusal_from_status(&status) {
                Some(Refusal { reason: Reason::Transient { .. } | Reason::Throttled { .. }, .. }) => {}
                Some(_) | None => return failed(format!("ShiftReads: {status}")),
            },
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    failed("ShiftReads was refused for the moment again and again")
}

async fn refused(
    bench: &mut Bench,
    request: wire::ShiftReadsRequest,
    reason: &Reason,
    what: &str,
) -> Verdict {
    match bench.client.shift_reads(request).await {
        Ok(answer) => failed(format!("ShiftReads {what} was done: {:?}", answer.into_inner())),
        Err(status) => {
            let found = refusal_from_status(&status).map(|refusal| refusal.reason);
            must(found.as_ref() == Some(reason), || {
                format!("ShiftReads {what} was refused with {found:?}: {status}")
            })
        }
    }
}
