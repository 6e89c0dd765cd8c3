//! Which column of a trace is what, and what a line says by it.

use clap::ValueEnum;
use std::str::FromStr;

/// Milliseconds from 1601, where Windows counts from, to 1970.
const FILETIME_EPOCH_MS: f64 = 11_644_473_600_000.0;

/// Columns of public traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Preset {
    /// Microsoft Research Cambridge (SNIA 388): time in 100 ns since 1601, host, disk, type, offset, size, response time.
    Msr,
    /// Alibaba Cloud 2020: device, operation, offset, length, time in microseconds.
    Alibaba,
    /// Tencent Cloud Block Storage (SNIA 27917): time in seconds, offset and size in sectors, type, volume.
    Tencent,
}

impl Preset {
    pub(super) fn layout(self) -> Layout {
        let columns = match self {
            Self::Msr => "time_filetime,node,volume,op,offset,size,-",
            Self::Alibaba => "volume,op,offset,size,time_us",
            Self::Tencent => "time,lbn,blocks,op,volume",
        };
        columns.parse().expect("the layouts here are layouts")
    }
}

/// What a column is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Column {
    /// In units of so many milliseconds, counted from so many before 1970.
    Time {
        unit_ms: f64,
        before_ms: f64,
    },
    Op,
    Bytes,
    Blocks,
    Offset,
    Lbn,
    Volume,
    Node,
    Other,
}

/// What the columns are, in their order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Layout(Vec<Column>);

impl Default for Layout {
    fn default() -> Self {
        "time,op,size,lbn".parse().expect("it is a layout")
    }
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let columns: Vec<Column> =
            text.split(',').map(|name| column(name.trim())).collect::<Result<_, _>>()?;
        let count = |which: fn(&Column) -> bool| columns.iter().filter(|column| which(column)).count();
        for (what, found) in [
            ("time", count(|column| matches!(column, Column::Time { .. }))),
            ("op", count(|column| *column == Column::Op)),
            ("size or blocks", count(|column| matches!(column, Column::Bytes | Column::Blocks))),
            ("offset or lbn", count(|column| matches!(column, Column::Offset | Column::Lbn))),
        ] {
            if found != 1 {
                return Err(format!("there is to be one column of {what}, not {found}"));
            }
        }
        for (what, which) in [("volume", Column::Volume), ("node", Column::Node)] {
            if columns.iter().filter(|column| **column == which).count() > 1 {
                return Err(format!("there are two columns of {what}"));
            }
        }
        Ok(Self(columns))
    }
}

fn column(name: &str) -> Result<Column, String> {
    let time = |unit_ms: f64| Column::Time { unit_ms, before_ms: 0.0 };
    Ok(match name {
        "time" => time(1e3),
        "time_ms" => time(1.0),
        "time_us" => time(1e-3),
        "time_ns" => time(1e-6),
        "time_filetime" => Column::Time { unit_ms: 1e-4, before_ms: FILETIME_EPOCH_MS },
        "op" => Column::Op,
        "size" => Column::Bytes,
        "blocks" => Column::Blocks,
        "offset" => Column::Offset,
        "lbn" => Column::Lbn,
        "volume" => Column::Volume,
        "node" => Column::Node,
        "-" => Column::Other,
        other => return Err(format!("{other:?} is no column that is known; - leaves one out")),
    })
}

/// What an access does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Read,
    Write,
    Discard,
}

/// What a line says. Names are empty where no column has them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Said<'a> {
    /// Milliseconds since 1970, or since whatever the trace counts from.
    pub(super) at_ms: f64,
    pub(super) op: Op,
    pub(super) bytes: u64,
    pub(super) offset: u64,
    pub(super) volume: &'a str,
    pub(super) node: &'a str,
}

impl Layout {
    /// Reads a line.
    pub(super) fn read<'a>(&self, line: &'a str, block_bytes: u32) -> Result<Said<'a>, String> {
        let mut said = Said { at_ms: f64::NAN, op: Op::Read, bytes: 0, offset: 0, volume: "", node: "" };
        let mut fields = line.split(',').map(str::trim);
        let blocks = |field: &str, what| {
            let blocks = whole(field, what)?;
            blocks.checked_mul(u64::from(block_bytes)).ok_or_else(|| format!("{what} {field} is too large"))
        };
        for column in &self.0 {
            let field = fields.next().ok_or_else(|| format!("it has fewer than {} fields", self.0.len()))?;
            match column {
                Column::Time { unit_ms, before_ms } => said.at_ms = time(field, *unit_ms, *before_ms)?,
                Column::Op => said.op = op(field)?,
                Column::Bytes => said.bytes = whole(field, "size")?,
                Column::Blocks => said.bytes = blocks(field, "size")?,
                Column::Offset => said.offset = whole(field, "offset")?,
                Column::Lbn => said.offset = blocks(field, "lbn")?,
                Column::Volume => said.volume = field,
                Column::Node => said.node = field,
                Column::Other => {}
            }
        }
        if fields.next().is_some() {
            return Err(format!("it has more than {} fields", self.0.len()));
        }
        Ok(said)
    }
}

fn time(field: &str, unit_ms: f64, before_ms: f64) -> Result<f64, String> {
    let wrong = || format!("time {field:?} is no moment since 1970");
    let at_ms = field.parse::<f64>().map_err(|_| wrong())? * unit_ms - before_ms;
    // Beyond the year 9999 it is of another unit.
    if (0.0..253_402_300_800_000.0).contains(&at_ms) { Ok(at_ms) } else { Err(wrong()) }
}

fn whole(field: &str, what: &str) -> Result<u64, String> {
    field.parse().map_err(|_| format!("{what} {field:?} is no whole number"))
}

fn op(field: &str) -> Result<Op, String> {
    match field.to_ascii_lowercase().as_str() {
        "r" | "rs" | "read" | "0" => Ok(Op::Read),
        "w" | "ws" | "write" | "1" => Ok(Op::Write),
        "d" | "discard" | "trim" | "unmap" => Ok(Op::Discard),
        _ => Err(format!("op {field:?} is neither read nor write nor discard")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_traces_are_read_by_their_layouts() {
        let msr = "128166372003061629,hm,1,Read,383496192,32768,413";
        let said = Preset::Msr.layout().read(msr, 512).unwrap();
        assert_eq!((said.node, said.volume, said.op), ("hm", "1", Op::Read));
        assert_eq!((said.offset, said.bytes), (383_496_192, 32_768));
        // 2007-02-22T17:00:00.306Z, as the trace's own documentation has its beginning.
        assert_eq!(said.at_ms.round(), 1_172_163_600_306.0);
        let said = Preset::Alibaba.layout().read("419,W,8792731648,16384,1577808144360767", 512).unwrap();
        assert_eq!(
            (said.volume, said.op, said.offset, said.bytes),
            ("419", Op::Write, 8_792_731_648, 16_384)
        );
        assert_eq!(said.at_ms.round(), 1_577_808_144_361.0);
        let said = Preset::Tencent.layout().read("1538323199,2881280,8,1,1063", 512).unwrap();
        assert_eq!((said.op, said.offset, said.bytes), (Op::Write, 2_881_280 * 512, 4_096));
    }

    #[test]
    fn what_cannot_be_is_said() {
        let refused = |text: &str| text.parse::<Layout>().unwrap_err();
        assert!(refused("time,op,size").contains("offset or lbn, not 0"));
        assert!(refused("time,time_ms,op,size,lbn").contains("time, not 2"));
        assert!(refused("time,op,size,lbn,moon").contains("moon"));
        let read = |line| Layout::default().read(line, 512).map(|_| ()).unwrap_err();
        assert!(read("1.5,R,4096").contains("fewer than 4"));
        assert!(read("1.5,R,4096,7,8").contains("more than 4"));
        assert!(read("x,R,4096,7").contains("time \"x\""));
        assert!(read("NaN,R,4096,7").contains("no moment"));
        assert!(read("1.5,E,4096,7").contains("op \"E\""));
        assert!(read("1.5,R,-1,7").contains("size \"-1\""));
        assert!(read("1.5,R,1,18446744073709551615").contains("too large"));
    }
}
