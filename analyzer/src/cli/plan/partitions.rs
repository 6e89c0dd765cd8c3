//! `parts.csv` and `assign.csv`: partitions, and who holds them.

use super::csv::{self, CsvError, Rows};
use super::names::{NodeNames, PartitionNames};
use super::nodes::MIB;
use isotherm_placement::hash;
use isotherm_placement::{Assignment, Column, MOST_REPLICAS, Node, Partition, Partitions};
use std::io::BufRead;
use std::path::Path;
use thiserror::Error;

/// Why there is no table of partitions.
#[derive(Debug, Error)]
pub(super) enum PartitionsError {
    #[error(transparent)]
    Csv(#[from] CsvError),
    #[error("parts.csv: several partitions are called {0:?}")]
    Twice(String),
    #[error("assign.csv has {0} columns n0, n1, ...; there can be 1 to {MOST_REPLICAS}")]
    Replicas(usize),
    #[error("assign.csv has no row for partition {0:?}; one that nobody holds has a row without nodes")]
    NoRow(String),
}

/// Reads `parts.csv` of a folder. The replicas are those of its column, or else to be set by the caller.
pub(super) fn read(folder: &Path) -> Result<(PartitionNames, Partitions), PartitionsError> {
    read_rows(csv::open(folder, "parts.csv")?)
}

fn read_rows<R: BufRead>(mut rows: Rows<R>) -> Result<(PartitionNames, Partitions), PartitionsError> {
    let (pid, size) = (rows.need("pid")?, rows.need("size_mib")?);
    let [load, risk, impact, pinned, replicas] =
        ["load", "risk", "impact", "pinned", "replicas"].map(|name| rows.find(name));
    let mut names = PartitionNames::new();
    let (mut key, mut size_bytes, mut loads) = (Vec::new(), Vec::new(), Vec::new());
    let (mut risks, mut impacts, mut pins, mut counts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    while rows.next()? {
        let name = rows.bytes(pid);
        if name.is_empty() {
            return Err(rows.fault(pid, "a partition needs a name".to_owned()).into());
        }
        key.push(hash::key(name));
        names.push(name);
        size_bytes.push(bytes(&rows, size)?);
        loads.push(load.map_or(Ok(0.0), |load| rows.quantity(load))?);
        if let Some(risk) = risk {
            risks.push(risk_of(&rows, risk)?);
        }
        if let Some(impact) = impact {
            impacts.push(rows.maybe(impact)?.map_or(f32::NAN, |value| value as f32));
        }
        if let Some(pinned) = pinned {
            pins.push(yes(&rows, pinned)?);
        }
        if let Some(replicas) = replicas {
            counts.push(count(&rows, replicas)?);
        }
    }
    if let Some(name) = names.sort() {
        return Err(PartitionsError::Twice(name));
    }
    let mut partitions = Partitions::new(key, size_bytes, loads, 1);
    let column = |there: Option<usize>| there.is_some();
    if column(risk) {
        partitions.risk = Column::Each(risks);
    }
    if column(impact) {
        partitions.impact = Column::Each(impacts);
    }
    if column(pinned) {
        partitions.pinned = Column::Each(pins);
    }
    if column(replicas) {
        partitions.replicas = Column::Each(counts);
    }
    Ok((names, partitions))
}

/// Whole mebibytes are exact.
fn bytes<R: BufRead>(rows: &Rows<R>, column: usize) -> Result<u64, CsvError> {
    let whole = str::from_utf8(rows.bytes(column)).ok().and_then(|text| text.parse::<u64>().ok());
    match whole {
        Some(mib) => mib
            .checked_mul(MIB as u64)
            .ok_or_else(|| rows.fault(column, format!("{mib} MiB are more bytes than can be counted"))),
        None => Ok((rows.quantity(column)? * MIB) as u64),
    }
}

fn risk_of<R: BufRead>(rows: &Rows<R>, column: usize) -> Result<f32, CsvError> {
    match rows.maybe(column)? {
        Some(risk) if risk > 1.0 => Err(rows.fault(column, format!("{risk} is not a probability of 0 to 1"))),
        risk => Ok(risk.map_or(f32::NAN, |risk| risk as f32)),
    }
}

fn yes<R: BufRead>(rows: &Rows<R>, column: usize) -> Result<bool, CsvError> {
    match rows.bytes(column) {
        b"1" | b"true" => Ok(true),
        b"0" | b"false" | b"" => Ok(false),
        _ => Err(rows.fault(column, format!("{:?} is not 0, 1, true or false", rows.lossy(column)))),
    }
}

fn count<R: BufRead>(rows: &Rows<R>, column: usize) -> Result<u8, CsvError> {
    let count: u8 = rows.number(column, "a number of replicas")?;
    if (1..=MOST_REPLICAS).contains(&usize::from(count)) {
        Ok(count)
    } else {
        Err(rows.fault(column, format!("{count} is not a number of replicas from 1 to {MOST_REPLICAS}")))
    }
}

/// Reads `assign.csv` of a folder. Where `parts.csv` does not say how many replicas there should be, it is as many as
/// there are columns for them.
pub(super) fn read_assignment(
    folder: &Path,
    nodes: &NodeNames,
    names: &PartitionNames,
    partitions: &mut Partitions,
) -> Result<Assignment, PartitionsError> {
    read_assignment_rows(csv::open(folder, "assign.csv")?, nodes, names, partitions)
}

fn read_assignment_rows<R: BufRead>(
    mut rows: Rows<R>,
    nodes: &NodeNames,
    names: &PartitionNames,
    partitions: &mut Partitions,
) -> Result<Assignment, PartitionsError> {
    let pid = rows.need("pid")?;
    let columns = replica_columns(rows.header());
    if !(1..=MOST_REPLICAS).contains(&columns.len()) {
        return Err(PartitionsError::Replicas(columns.len()));
    }
    let from_columns = columns.len() as u8;
    let most = match &partitions.replicas {
        Column::Each(replicas) => replicas.iter().copied().max().unwrap_or(1),
        Column::Same(_) => {
            partitions.replicas = Column::Same(from_columns);
            from_columns
        }
    };
    let mut assignment = Assignment::empty(names.len(), usize::from(most.max(from_columns)));
    let mut seen = vec![false; names.len()];
    let mut row = Vec::with_capacity(columns.len());
    let mut likely = 0;
    while rows.next()? {
        let Some(partition) = names.find(rows.bytes(pid), likely) else {
            let cause = format!("{:?} is no partition of parts.csv", rows.lossy(pid));
            return Err(rows.fault(pid, cause).into());
        };
        if std::mem::replace(&mut seen[partition.at()], true) {
            let cause = format!("{:?} has a row already", rows.lossy(pid));
            return Err(rows.fault(pid, cause).into());
        }
        row.clear();
        for column in &columns {
            row.extend(holder(&rows, *column, nodes, &row)?);
        }
        assignment.set(partition, &row);
        likely = partition.at() + 1;
    }
    match seen.iter().position(|seen| !seen) {
        Some(at) => Err(PartitionsError::NoRow(names.of(Partition(at as u32)))),
        None => Ok(assignment),
    }
}

/// The node of a cell; nothing where it is empty.
fn holder<R: BufRead>(
    rows: &Rows<R>,
    column: usize,
    nodes: &NodeNames,
    before: &[Node],
) -> Result<Option<Node>, CsvError> {
    let name = rows.bytes(column);
    if name.is_empty() {
        return Ok(None);
    }
    let fault = |cause: &str| rows.fault(column, format!("{:?} {cause}", rows.lossy(column)));
    let node = nodes.find(name).ok_or_else(|| fault("is no node of nodes.csv"))?;
    if before.contains(&node) { Err(fault("holds it twice")) } else { Ok(Some(node)) }
}

/// Positions of the columns n0, n1 and so on, in the order of their numbers.
fn replica_columns(header: &[String]) -> Vec<usize> {
    let number = |name: &String| name.strip_prefix('n')?.parse::<u32>().ok();
    let mut found: Vec<(u32, usize)> =
        header.iter().enumerate().filter_map(|(at, name)| Some((number(name)?, at))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, at)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(parts: &str, assign: &str) -> Result<(PartitionNames, Partitions, Assignment), String> {
        let text = |error: PartitionsError| error.to_string();
        let rows = |file: &str, text| Rows::new(file.to_owned(), text).map_err(|error| error.to_string());
        let mut nodes = NodeNames::default();
        for name in ["0", "1", "b"] {
            nodes.push(name.to_owned());
        }
        let (names, mut partitions) = read_rows(rows("parts.csv", parts.as_bytes())?).map_err(text)?;
        let assign = rows("assign.csv", assign.as_bytes())?;
        let assignment = read_assignment_rows(assign, &nodes, &names, &mut partitions).map_err(text)?;
        Ok((names, partitions, assignment))
    }

    fn subsets(assignment: &Assignment) -> Vec<Vec<u16>> {
        let all = 0..assignment.len() as u32;
        all.map(|at| assignment.subset(Partition(at)).map(|node| node.0).collect()).collect()
    }

    #[test]
    fn rows_may_come_in_another_order_and_have_empty_cells() {
        let parts = "pid,size_mib,load\n0,1,2\nx,0.5,0\n";
        let (names, partitions, assignment) = read_text(parts, "n1,pid,n0\n,x,b\n1,0,0\n").unwrap();
        assert_eq!(subsets(&assignment), [vec![0, 1], vec![2]]);
        assert_eq!(partitions.size_bytes, [1 << 20, 1 << 19]);
        assert_eq!(partitions.load, [2.0, 0.0]);
        assert_eq!(partitions.replicas, Column::Same(2));
        assert_eq!(partitions.key, [hash::key(b"0"), hash::key(b"x")]);
        assert_eq!(names.len(), 2);
        // A hole before a holder is closed.
        assert_eq!(subsets(&read_text("pid,size_mib\n0,1\n", "pid,n0,n1\n0,,1\n").unwrap().2), [[1]]);
    }

    #[test]
    fn what_is_not_needed_is_unknown_if_it_is_not_there() {
        let parts = "pid,size_mib,risk,impact,pinned,replicas\n0,1,,,,1\n1,1,0.25,7,true,3\n";
        let (_, partitions, assignment) = read_text(parts, "pid,n0\n0,0\n1,1\n").unwrap();
        assert_eq!(assignment.width(), 3);
        let [unknown, known] = [0, 1].map(Partition);
        assert!(partitions.risk.get(unknown).is_nan() && partitions.impact.get(unknown).is_nan());
        assert_eq!((partitions.risk.get(known), partitions.impact.get(known)), (0.25, 7.0));
        assert_eq!((partitions.pinned.get(unknown), partitions.pinned.get(known)), (false, true));
        assert_eq!((partitions.replicas.get(unknown), partitions.replicas.get(known)), (1, 3));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        let good = "pid,size_mib\n0,1\n1,1\n";
        for (parts, assign, place) in [
            ("pid,load\n", "", "parts.csv has no column \"size_mib\" among pid, load"),
            (
                "pid,size_mib\n0,-1\n",
                "",
                "parts.csv line 2, column size_mib: \"-1\" is not a number of 0 or more",
            ),
            ("pid,size_mib\n1,1\n1,1\n", "", "parts.csv: several partitions are called \"1\""),
            (
                "pid,size_mib,load\n0,1,inf\n",
                "",
                "parts.csv line 2, column load: \"inf\" is not a number of 0 or more",
            ),
            (
                "pid,size_mib,risk\n0,1,2\n",
                "",
                "parts.csv line 2, column risk: 2 is not a probability of 0 to 1",
            ),
            (
                "pid,size_mib,pinned\n0,1,no\n",
                "",
                "parts.csv line 2, column pinned: \"no\" is not 0, 1, true or false",
            ),
            (
                "pid,size_mib,replicas\n0,1,0\n",
                "",
                "parts.csv line 2, column replicas: 0 is not a number of replicas from 1 to 8",
            ),
            (good, "pid\n0\n1\n", "assign.csv has 0 columns n0, n1, ...; there can be 1 to 8"),
            (good, "pid,n0\n0,1\n2,1\n", "assign.csv line 3, column pid: \"2\" is no partition of parts.csv"),
            (good, "pid,n0\n0,1\n0,1\n", "assign.csv line 3, column pid: \"0\" has a row already"),
            (good, "pid,n0\n0,1\n1,2\n", "assign.csv line 3, column n0: \"2\" is no node of nodes.csv"),
            (good, "pid,n0,n1\n0,b,b\n", "assign.csv line 2, column n1: \"b\" holds it twice"),
            (
                good,
                "pid,n0\n0,1\n",
                "assign.csv has no row for partition \"1\"; one that nobody holds has a row without nodes",
            ),
        ] {
            let assign = if assign.is_empty() { "pid,n0\n" } else { assign };
            assert_eq!(read_text(parts, assign).err().as_deref(), Some(place));
        }
    }
}
