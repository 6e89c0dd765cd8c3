//! A placement as a file, in the form of `assign.csv`.

use super::names::{NodeNames, PartitionNames};
use isotherm_placement::{Assignment, Partition};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Writes all rows, and puts the file in its place when it is complete. What is there and no file (a pipe, a terminal,
/// a link) is written to as it is.
pub(super) fn placement(
    path: &Path,
    partitions: &PartitionNames,
    nodes: &NodeNames,
    assignment: &Assignment,
) -> io::Result<()> {
    if fs::symlink_metadata(path).is_ok_and(|there| !there.is_file()) {
        let mut out = BufWriter::with_capacity(1 << 18, File::create(path)?);
        rows(&mut out, partitions, nodes, assignment)?;
        return out.flush();
    }
    let beside = temporary(path);
    let written = File::create(&beside).and_then(|file| {
        let mut out = BufWriter::with_capacity(1 << 18, file);
        rows(&mut out, partitions, nodes, assignment)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // What went wrong is told; that a part of a file is left over as well would hide it.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// Beside the file, so that it can be renamed to it; no other process has the name.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}", std::process::id()));
    path.with_file_name(name)
}

fn rows(
    out: &mut impl Write,
    partitions: &PartitionNames,
    nodes: &NodeNames,
    assignment: &Assignment,
) -> io::Result<()> {
    write!(out, "pid")?;
    (0..assignment.width()).try_for_each(|slot| write!(out, ",n{slot}"))?;
    writeln!(out)?;
    let mut line = Vec::new();
    for at in 0..assignment.len() as u32 {
        line.clear();
        push(&mut line, partitions.of(Partition(at)).as_bytes());
        let holders = assignment.subset(Partition(at));
        let empty = assignment.width() - holders.len();
        for node in holders {
            line.push(b',');
            push(&mut line, nodes.of(node).as_bytes());
        }
        line.extend(std::iter::repeat_n(b',', empty));
        line.push(b'\n');
        out.write_all(&line)?;
    }
    Ok(())
}

/// A field, quoted where it would be read as something else.
fn push(line: &mut Vec<u8>, field: &[u8]) {
    if !field.iter().any(|byte| matches!(byte, b',' | b'"')) {
        line.extend_from_slice(field);
        return;
    }
    line.push(b'"');
    for byte in field {
        line.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    }
    line.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use isotherm_placement::Node;

    #[test]
    fn a_placement_is_written_as_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let (mut nodes, mut partitions) = (NodeNames::default(), PartitionNames::new());
        for name in ["0", "a,b", "\"c\""] {
            assert!(nodes.push(name.to_owned()));
            partitions.push(name.as_bytes());
        }
        let mut assignment = Assignment::empty(3, 2);
        assignment.set(Partition(0), &[Node(2), Node(0)]);
        assignment.set(Partition(1), &[Node(1)]);
        let path = folder.path().join("plan.csv");
        placement(&path, &partitions, &nodes, &assignment).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "pid,n0,n1\n0,\"\"\"c\"\"\",0\n\"a,b\",\"a,b\",\n\"\"\"c\"\"\",,\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_put_in_its_place_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        let (nodes, partitions) = (NodeNames::default(), PartitionNames::new());
        assert!(placement(&path, &partitions, &nodes, &Assignment::empty(0, 1)).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
