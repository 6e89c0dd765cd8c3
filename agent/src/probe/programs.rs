//! The kernel programs, and what each needs of the kernel.

use isotherm_agent_ebpf::FIELDS;
use isotherm_model::Layer;

/// Whether a layer can do without a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Without it the layer does not work.
    Required,
    /// Without it the layer works, but for this.
    Optional {
        /// What is missing then.
        lost: &'static str,
    },
}

/// A program that hangs on a tracepoint.
#[derive(Debug, Clone, Copy)]
pub struct ProgramSpec {
    /// The layers that need it.
    pub layers: &'static [Layer],
    /// Its name in the object.
    pub program: &'static str,
    /// The tracepoint.
    pub tracepoint: &'static str,
    /// Names, in [`FIELDS`], of the kernel fields that it reads.
    pub fields: &'static [&'static str],
    /// Whether they can do without.
    pub need: Need,
}

/// All programs of this version.
pub const SPECS: [ProgramSpec; 3] = [
    ProgramSpec {
        layers: &[Layer::Logical],
        program: "iso_fork",
        tracepoint: "sched_process_fork",
        fields: &["TASK_TGID"],
        need: Need::Required,
    },
    ProgramSpec {
        layers: &[Layer::Logical],
        program: "iso_exit",
        tracepoint: "sched_process_exit",
        fields: &["TASK_TGID", "TASK_SIGNAL", "SIGNAL_LIVE"],
        need: Need::Required,
    },
    ProgramSpec {
        layers: &[Layer::Logical],
        program: "iso_sys_exit",
        tracepoint: "sys_exit",
        fields: &[
            "TASK_FILES",
            "TASK_STATUS",
            "FILES_FDT",
            "FDT_FD",
            "FDT_MAX_FDS",
            "FILE_INODE",
            "FILE_POS",
            "FILE_FLAGS",
            "FILE_DENTRY",
            "INODE_INO",
            "INODE_SB",
            "INODE_MODE",
            "INODE_GENERATION",
            "INODE_SIZE",
            "SB_DEV",
            "DENTRY_PARENT",
            "DENTRY_NAME",
            "REGS_NR",
            "REGS_FD",
            "REGS_POS",
            "REGS_FLAGS",
        ],
        need: Need::Required,
    },
];

impl ProgramSpec {
    /// The places of its fields, such as `inode.i_ino`.
    pub fn places(&self) -> impl Iterator<Item = &'static str> {
        FIELDS.iter().filter(|(name, _)| self.fields.contains(name)).map(|(_, place)| *place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_fields_are_those_of_the_object() {
        let programs: Vec<(&str, &str)> = SPECS.iter().map(|spec| (spec.program, spec.tracepoint)).collect();
        assert_eq!(programs, super::super::PROGRAMS);
        for spec in SPECS {
            assert_eq!(
                spec.places().count(),
                spec.fields.len(),
                "{}: a field has no such name",
                spec.program
            );
        }
        for (name, _) in FIELDS {
            assert!(SPECS.iter().any(|spec| spec.fields.contains(name)), "{name} is needed by nobody");
        }
    }
}
