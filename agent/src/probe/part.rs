//! What the object is made of: programs by part, the part by layer, and what becomes of them on this kernel.

use super::btf::{Btf, BtfError};
use isotherm_agent_ebpf::{FIELDS, NUMBERS, Part, SYMBOLS};
use isotherm_model::Layer;

/// A program and the tracepoint that it hangs on.
#[derive(Debug, Clone, Copy)]
pub struct Program {
    /// Its name in the object.
    pub name: &'static str,
    /// The tracepoint.
    pub tracepoint: &'static str,
    /// What it is a part of.
    pub part: Part,
}

const fn program(part: Part, name: &'static str, tracepoint: &'static str) -> Program {
    Program { name, tracepoint, part }
}

/// Every program, in the order in which they are attached: what keeps books before what counts.
pub const PROGRAMS: &[Program] = &[
    program(Part::Calls, "iso_fork", "sched_process_fork"),
    program(Part::Calls, "iso_exec", "sched_process_exec"),
    program(Part::Calls, "iso_exit", "sched_process_exit"),
    program(Part::Socket, "iso_state", "inet_sock_set_state"),
    program(Part::Socket, "iso_receive", "sock_recv_length"),
    program(Part::Socket, "iso_send", "sock_send_length"),
    program(Part::BlockLatency, "iso_request", "block_rq_complete"),
    program(Part::Block, "iso_bio", "block_bio_queue"),
    program(Part::Uring, "iso_uring", "io_uring_complete"),
    program(Part::Calls, "iso_sys_exit", "sys_exit"),
];

/// Bytes of `struct page` that the program for block devices counts on.
const PAGE_STRUCT: u64 = 64;

/// The layer that a part belongs to.
#[must_use]
pub fn layer(part: Part) -> Layer {
    match part {
        Part::Calls | Part::Aio | Part::Uring => Layer::Logical,
        Part::Block | Part::BlockLatency => Layer::Device,
        Part::Socket => Layer::Network,
    }
}

/// What a layer lacks without a part.
#[must_use]
pub fn without(part: Part) -> &'static str {
    match part {
        Part::Calls => "nothing can be watched",
        Part::Aio => "asynchronous accesses of libaio are not counted",
        Part::Uring => "accesses through io_uring are not counted",
        Part::Block => "the device layer is not counted",
        Part::BlockLatency => "the device layer has no latencies",
        Part::Socket => "the network layer is not counted",
    }
}

/// Values for the object's statics, and the parts that this kernel does not have, with the reason.
#[derive(Debug, Default)]
pub struct Resolved {
    /// Name of a static, and its value.
    pub values: Vec<(&'static str, u64)>,
    /// Parts that cannot work.
    pub missing: Vec<(Part, String)>,
    /// Kernel functions whose addresses are not known, those of modules that are not loaded not among them.
    pub unknown_symbols: Vec<&'static str>,
}

impl Resolved {
    /// Whether a part can be loaded.
    #[must_use]
    pub fn has(&self, part: Part) -> bool {
        // Latency is told of what the other program has counted.
        let needs = if part == Part::BlockLatency { Part::Block } else { part };
        !self.missing.iter().any(|(missing, _)| *missing == part || *missing == needs)
    }
}

/// Looks everything up. Fails only where the type information is damaged; what is not there is `missing`.
/// `kallsyms` is the text of /proc/kallsyms; its addresses are 0 for who may not see them.
pub fn resolve(btf: &Btf, kallsyms: &str) -> Result<Resolved, BtfError> {
    let mut resolved = Resolved::default();
    for field in FIELDS {
        match btf.offset(field.path, field.part.as_str()) {
            Ok(offset) => resolved.values.push((field.name, offset)),
            Err(error @ BtfError::NoField { .. }) => resolved.missing.push((field.part, error.to_string())),
            Err(error) => return Err(error),
        }
    }
    for (name, enumerator, part) in NUMBERS {
        match btf.enumerator(enumerator)? {
            Some(value) => resolved.values.push((name, value)),
            None => resolved.missing.push((*part, format!("this kernel has no {enumerator}"))),
        }
    }
    let page = btf.size("page")?;
    if page != Some(PAGE_STRUCT) {
        resolved.missing.push((Part::Block, format!("struct page has {page:?} bytes, not {PAGE_STRUCT}")));
    }
    for program in PROGRAMS {
        if !btf.has_tracepoint(program.tracepoint) {
            let what = format!("this kernel has no tracepoint {}", program.tracepoint);
            resolved.missing.push((program.part, what));
        }
    }
    for symbol in SYMBOLS {
        match address(kallsyms, symbol.function) {
            Some(0) => resolved.unknown_symbols.push(symbol.function),
            Some(address) => resolved.values.push((symbol.name, address)),
            None if symbol.in_module && !kallsyms.is_empty() => {}
            None => resolved.unknown_symbols.push(symbol.function),
        }
    }
    Ok(resolved)
}

/// The address of a kernel function, 0 if it is hidden. `None` if there is no such function.
fn address(kallsyms: &str, symbol: &str) -> Option<u64> {
    kallsyms.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (address, _, name) = (words.next()?, words.next()?, words.next()?);
        if name == symbol { u64::from_str_radix(address, 16).ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_unless_they_are_hidden() {
        let text = "ffffffff81765d30 T iomap_dio_bio_end_io\n0000000000000000 t xlog_bio_end_io\nbad\n";
        assert_eq!(address(text, "iomap_dio_bio_end_io"), Some(0xffff_ffff_8176_5d30));
        assert_eq!(address(text, "xlog_bio_end_io"), Some(0));
        assert_eq!(address(text, "end_bio_bh_io_sync"), None);
    }

    #[test]
    fn latency_needs_what_it_is_told_of() {
        let resolved = Resolved { missing: vec![(Part::Block, "no bio".to_owned())], ..Resolved::default() };
        assert!(!resolved.has(Part::BlockLatency) && !resolved.has(Part::Block));
        assert!(resolved.has(Part::Calls) && resolved.has(Part::Socket));
    }
}
