//! Letting the programs call `bpf_rdonly_cast`, which gives an address a type.
//!
//! Why: with a type, the kernel loads what lies there directly (a fault reads 0, as with the helper); a helper
//! call for each piece is most of what an access costs. Why the object is changed: neither compiler nor loader
//! can name a function of the kernel by itself, so the object has a call of no helper in its place.

use super::btf::{Btf, BtfError};
use isotherm_agent_ebpf::{CAST, CAST_CALL, SLOT_FILE, SLOT_TYPE};

/// Operation code of a call, and the source register that says it is one of a kernel function
/// (BPF_PSEUDO_KFUNC_CALL of linux/bpf.h).
const CALL: u8 = 0x85;
const KERNEL_FUNCTION: u8 = 2;

/// What the running kernel has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cast {
    /// Type id of the function.
    function: u32,
    /// Type id of what begins with a `struct file *`.
    pub(super) slot_type: u64,
}

impl Cast {
    /// `None` where something is missing: then the programs read by the helper.
    pub(super) fn of(btf: &Btf) -> Result<Option<Self>, BtfError> {
        let slot_type = btf.structure(SLOT_TYPE.1);
        let begins_with_file = matches!(btf.offset(SLOT_FILE, "system call"), Ok(0));
        let function = btf.function(CAST)?;
        Ok(slot_type
            .filter(|_| begins_with_file)
            .zip(function)
            .map(|(slot_type, function)| Self { function, slot_type: u64::from(slot_type) }))
    }

    /// The object with calls of the kernel's function.
    pub(super) fn patched(&self, object: &[u8]) -> Patched {
        let before = instruction(0, CAST_CALL);
        let after = instruction(KERNEL_FUNCTION, self.function);
        // Sections of programs begin at multiples of 8, so an instruction is a word.
        let words = object.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            if word == before { after } else { word }
        });
        Patched { words: words.map(u64::from_ne_bytes).collect(), len: object.len() }
    }
}

fn instruction(source: u8, immediate: u32) -> [u8; 8] {
    let [a, b, c, d] = immediate.to_le_bytes();
    [CALL, source << 4, 0, 0, a, b, c, d]
}

/// An object, aligned as the loader wants it.
pub(super) struct Patched {
    words: Vec<u64>,
    len: usize,
}

impl Patched {
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the words are plain memory of at least this many bytes.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calls_in_question_are_changed() {
        let cast = Cast { function: 0x0102_0304, slot_type: 7 };
        let object = [instruction(0, 4), instruction(0, CAST_CALL), instruction(1, CAST_CALL)].concat();
        let object = [object.as_slice(), &[1, 2, 3]].concat();
        let patched = cast.patched(&object);
        assert_eq!(patched.bytes().len(), object.len());
        assert_eq!(patched.bytes()[8..16], [0x85, 0x20, 0, 0, 4, 3, 2, 1]);
        assert_eq!(patched.bytes()[..8], object[..8]);
        assert_eq!(patched.bytes()[16..], object[16..]);
    }
}
