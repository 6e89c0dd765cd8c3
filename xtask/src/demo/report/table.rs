//! A report for people.

use super::compared::Compared;
use super::network::NOT_COMPARED;
use super::{PhaseReport, Report};
use crate::demo::risk::Shown;
use comfy_table::{CellAlignment, Table, presets};
use std::fmt;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for phase in &self.phases {
            writeln!(f, "phase {}: {}\n", phase.name, word(phase.equal))?;
            phase.logical(f)?;
            phase.device(f)?;
            phase.network(f)?;
            phase.entropy(f)?;
            writeln!(f, "lost events: {}\n", count(phase.lost))?;
        }
        if !self.risks.is_empty() {
            writeln!(f, "what the analyzer makes of it, in a cycle under load (a step is a second here):\n")?;
            writeln!(f, "{}\n", Shown(&self.risks))?;
        }
        if let Some(story) = &self.story {
            writeln!(f, "{story}\n")?;
        }
        let failed = self.checks.iter().filter(|check| !check.ok).count();
        if !self.checks.is_empty() {
            let ok = |ok: bool| if ok { "yes" } else { "NO" }.to_owned();
            let rows =
                self.checks.iter().map(|check| [check.name.to_owned(), ok(check.ok), check.found.clone()]);
            writeln!(f, "what must be so:\n{}\n", columns(["CHECK", "OK", "FOUND"], rows))?;
        }
        write!(f, "{}", if self.equal { "everything equals the truth" } else { "something differs" })?;
        match failed {
            0 => Ok(()),
            failed => write!(f, "; {failed} of {} checks failed", self.checks.len()),
        }
    }
}

impl PhaseReport {
    /// One line for each layer: what was counted, the truth, whether they are equal.
    pub(in crate::demo) fn summary(&self) -> String {
        let [reads, read_bytes, writes, written_bytes] = self.logical.sums();
        let [received, sent, accepts] = self.network.sums();
        let (read, written) = (self.device.read.bytes, self.device.written.bytes);
        let layers = [
            ("logical", "reads", reads),
            ("", "bytes read", read_bytes),
            ("", "writes", writes),
            ("", "bytes written", written_bytes),
            ("device", "bytes read", read),
            ("", "bytes written", written),
            ("network", "bytes received from clients", received),
            ("", "bytes sent to clients", sent),
            ("", "connections accepted", accepts),
        ];
        let rows = layers.map(|(layer, what, compared)| {
            let equal = if compared.equal() { "yes" } else { "NO" };
            let cells = [layer, what, &count(compared.counted), &compared.truth.to_string(), equal];
            cells.map(str::to_owned)
        });
        columns(["LAYER", "WHAT", "COUNTED", "TRUTH", "EQUAL"], rows.into_iter()).to_string()
    }

    fn logical(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "logical layer: {} (counted = truth)", word(self.logical.equal))?;
        let rows = self.logical.volumes.iter().map(|line| {
            let compared = [line.reads, line.read_bytes, line.writes, line.written_bytes];
            let [reads, read, writes, written] = compared.map(|compared| compared.to_string());
            [line.volume.clone(), line.node.clone(), reads, read, writes, written]
        });
        let header = ["VOLUME", "NODE", "READS", "BYTES READ", "WRITES", "BYTES WRITTEN"];
        writeln!(f, "{}", columns(header, rows))?;
        for (what, sum) in [
            ("that are no volume's", &self.logical.other),
            ("that nobody could name", &self.logical.unattributed),
        ] {
            match sum {
                Some(sum) => writeln!(
                    f,
                    "of files {what}: {} reads, {} writes, {} syncs",
                    sum.reads, sum.writes, sum.syncs
                )?,
                None => writeln!(f, "of files {what}: unknown")?,
            }
        }
        writeln!(f)
    }

    fn device(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let device = &self.device;
        writeln!(f, "device layer, {}: {}", device.device, word(device.equal))?;
        let rows = [("read", &device.read), ("written", &device.written)].map(|(name, direction)| {
            let parts = [direction.volumes, direction.other, direction.unattributed, direction.nobodys];
            let [volumes, other, unattributed, nobodys] = parts.map(count);
            let Compared { truth, counted } = direction.bytes;
            [name.to_owned(), count(counted), truth.to_string(), volumes, other, unattributed, nobodys]
        });
        let header = ["BYTES", "COUNTED", "TRUTH", "VOLUMES", "OTHER FILES", "UNATTRIBUTED", "NO NODE'S"];
        writeln!(f, "{}\n", columns(header, rows.into_iter()))?;
        let rows = device.volumes.iter().map(|line| {
            let bytes = [line.read_bytes, line.written_bytes].map(|bytes| bytes.to_string());
            let [read, written] = bytes;
            [line.volume.clone(), line.node.clone(), read, written]
        });
        writeln!(f, "{}\n", columns(["VOLUME", "NODE", "BYTES READ", "BYTES WRITTEN"], rows))
    }

    fn network(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = &self.network;
        writeln!(f, "network layer: {} (counted = truth)", word(network.equal))?;
        let rows = network.clients.iter().map(|line| {
            let compared = [line.received_bytes, line.sent_bytes, line.accepts];
            let [received, sent, accepts] = compared.map(|compared| compared.to_string());
            [line.node.clone(), line.client.clone(), received, sent, accepts]
        });
        let header = ["NODE", "CLIENT", "BYTES RECEIVED", "BYTES SENT", "ACCEPTS"];
        writeln!(f, "{}", columns(header, rows))?;
        writeln!(f, "not compared: {NOT_COMPARED}\n")?;
        let rows = network.replication.iter().map(|line| {
            let bytes = [line.sent_bytes, line.received_bytes, line.at_least_bytes];
            let [sent, received, least] = bytes.map(|bytes| bytes.to_string());
            [line.node.clone(), line.peer.clone(), sent, received, least]
        });
        let header = ["NODE", "PEER NODE", "BYTES SENT", "RECEIVED THERE", "AT LEAST"];
        writeln!(f, "{}\n", columns(header, rows))
    }

    fn entropy(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.entropies.iter().map(|entropy| {
            [
                entropy.volume.clone(),
                entropy.status.to_owned(),
                shown(entropy.true_bits),
                shown(entropy.computed_bits),
            ]
        });
        writeln!(f, "{}\n", columns(["VOLUME", "NODE ENTROPY", "TRUE BITS", "COMPUTED"], rows))
    }
}

fn word(equal: bool) -> &'static str {
    if equal { "equal" } else { "NOT EQUAL" }
}

pub(in crate::demo) fn columns<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn count(events: Option<u64>) -> String {
    events.map_or_else(|| "unknown".to_owned(), |events| events.to_string())
}

fn shown(bits: Option<f64>) -> String {
    bits.map_or_else(|| "-".to_owned(), |bits| format!("{bits:.6}"))
}
