//! Byte offsets of kernel fields, from the type information (BTF) that the running kernel carries.
//!
//! A reader of its own, because the loader's does not expose members and a general one takes twenty times
//! as long (measured: 409 ms against 21). Format: Linux Documentation/bpf/btf.rst. Every read is checked:
//! a damaged file is an error, never a wrong offset.

use std::collections::HashMap;
use std::path::Path;

const MAGIC: u16 = 0xeb9f;
const HEADER_LEN: usize = 24;
const TYPE_LEN: usize = 12;
const MEMBER_LEN: usize = 12;
/// Anonymous structs and unions nest a few deep in real kernels.
const MAX_NESTING: u32 = 16;

const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_FUNC: u32 = 12;
const ENUMERATOR_LEN: usize = 8;
/// Begins the name of the type of a tracepoint.
const TRACEPOINT: &[u8] = b"btf_trace_";

/// Why an offset cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The kernel was built without it.
    #[error("cannot read {path}: this kernel carries no type information; it needs CONFIG_DEBUG_INFO_BTF=y")]
    Absent {
        /// Where it was looked for.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Not what the format says.
    #[error("the kernel's type information is damaged at byte {at}: {what}")]
    Damaged {
        /// Position in the file.
        at: usize,
        /// What was expected there.
        what: &'static str,
    },
    /// This kernel has no such field.
    #[error("this kernel has no field `{path}`, which the {needed_by} probe needs")]
    NoField {
        /// `type.member.member`.
        path: String,
        /// The probe that cannot work without it.
        needed_by: &'static str,
    },
}

/// Parsed type information.
pub struct Btf {
    data: Vec<u8>,
    strings: (usize, usize),
    /// Position of each type by its id; id 0 is void.
    types: Vec<usize>,
    /// Structs and unions by name; the first of a name wins.
    by_name: HashMap<Vec<u8>, u32>,
    /// Enumerations of 32 bits.
    enums: Vec<u32>,
    /// Typedefs that say what a tracepoint passes, by the tracepoint's name.
    tracepoints: HashMap<Vec<u8>, u32>,
}

impl Btf {
    /// Reads the running kernel's own.
    pub fn of_running_kernel() -> Result<Self, BtfError> {
        Self::read(Path::new("/sys/kernel/btf/vmlinux"))
    }

    /// Reads a file in raw BTF format.
    pub fn read(path: &Path) -> Result<Self, BtfError> {
        let data = std::fs::read(path)
            .map_err(|source| BtfError::Absent { path: path.display().to_string(), source })?;
        Self::parse(data)
    }

    /// Parses raw BTF.
    pub fn parse(data: Vec<u8>) -> Result<Self, BtfError> {
        let mut btf = Self {
            data,
            strings: (0, 0),
            types: vec![0],
            by_name: HashMap::new(),
            enums: Vec::new(),
            tracepoints: HashMap::new(),
        };
        if btf.u32(0)? & 0xffff != u32::from(MAGIC) {
            return Err(BtfError::Damaged { at: 0, what: "the magic number 0xeb9f" });
        }
        let header = btf.u32(4)? as usize;
        if header < HEADER_LEN {
            return Err(BtfError::Damaged { at: 4, what: "a header of 24 bytes or more" });
        }
        let section = |offset: u32, length: u32| {
            let start = header.checked_add(offset as usize)?;
            let end = start.checked_add(length as usize)?;
            (end <= btf.data.len()).then_some((start, end))
        };
        let types = section(btf.u32(8)?, btf.u32(12)?)
            .ok_or(BtfError::Damaged { at: 8, what: "a type section inside the file" })?;
        let strings = section(btf.u32(16)?, btf.u32(20)?)
            .ok_or(BtfError::Damaged { at: 16, what: "a string section inside the file" })?;
        btf.strings = strings;
        btf.index(types)?;
        Ok(btf)
    }

    fn index(&mut self, (start, end): (usize, usize)) -> Result<(), BtfError> {
        let mut at = start;
        while at < end {
            let id = self.types.len() as u32;
            let (kind, count) = self.kind(at)?;
            match kind {
                KIND_STRUCT | KIND_UNION => {
                    let name = self.string(self.u32(at)?)?;
                    if !name.is_empty() {
                        let name = name.to_vec();
                        self.by_name.entry(name).or_insert(id);
                    }
                }
                KIND_ENUM => self.enums.push(id),
                KIND_TYPEDEF => {
                    if let Some(name) = self.string(self.u32(at)?)?.strip_prefix(TRACEPOINT) {
                        let name = name.to_vec();
                        self.tracepoints.entry(name).or_insert(id);
                    }
                }
                _ => {}
            }
            self.types.push(at);
            at += TYPE_LEN
                + match kind {
                    1 | 14 | 17 => 4,                                 // INT, VAR, DECL_TAG
                    3 => 12,                                          // ARRAY
                    KIND_STRUCT | KIND_UNION | 15 | 19 => count * 12, // .., DATASEC, ENUM64
                    6 | 13 => count * 8,                              // ENUM, FUNC_PROTO
                    2 | 7..=12 | 16 | 18 => 0, // PTR, FWD, TYPEDEF, qualifiers, FUNC, FLOAT, TYPE_TAG
                    _ => return Err(BtfError::Damaged { at, what: "a known kind of type" }),
                };
        }
        Ok(())
    }

    /// Byte offset of a field, such as `task_struct.thread_info.status`, looked for also in anonymous structs
    /// and unions. Bit fields are not supported: their offset is that of the byte they begin in.
    pub fn offset(&self, path: &str, needed_by: &'static str) -> Result<u64, BtfError> {
        let missing = || BtfError::NoField { path: path.to_owned(), needed_by };
        let mut parts = path.split('.');
        let root = parts.next().unwrap_or_default();
        let mut id = *self.by_name.get(root.as_bytes()).ok_or_else(missing)?;
        let mut offset = 0;
        for member in parts {
            let (bytes, next) = self.member(id, member.as_bytes(), 0)?.ok_or_else(missing)?;
            offset += bytes;
            id = self.unqualified(next)?;
        }
        Ok(offset)
    }

    /// Value of an enumerator, whatever its enumeration. `None` if there is none of the name.
    pub fn enumerator(&self, name: &str) -> Result<Option<u64>, BtfError> {
        for id in &self.enums {
            let at = self.position(*id)?;
            for index in 0..self.kind(at)?.1 {
                let entry = at + TYPE_LEN + index * ENUMERATOR_LEN;
                if self.string(self.u32(entry)?)? == name.as_bytes() {
                    return Ok(Some(u64::from(self.u32(entry + 4)?)));
                }
            }
        }
        Ok(None)
    }

    /// Bytes of a struct or union. `None` if there is none of the name.
    pub fn size(&self, name: &str) -> Result<Option<u64>, BtfError> {
        let Some(id) = self.by_name.get(name.as_bytes()) else { return Ok(None) };
        Ok(Some(u64::from(self.u32(self.position(*id)? + 8)?)))
    }

    /// The id of a kernel function, as far as the kernel tells its type.
    pub fn function(&self, name: &str) -> Result<Option<u32>, BtfError> {
        for (id, at) in self.types.iter().enumerate().skip(1) {
            if self.kind(*at)?.0 == KIND_FUNC && self.string(self.u32(*at)?)? == name.as_bytes() {
                return Ok(u32::try_from(id).ok());
            }
        }
        Ok(None)
    }

    /// The id of a struct or union.
    #[must_use]
    pub fn structure(&self, name: &str) -> Option<u32> {
        self.by_name.get(name.as_bytes()).copied()
    }

    /// Whether programs that know types can hang on a tracepoint.
    #[must_use]
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.tracepoint(name).is_some()
    }

    /// The id of the type that such a program names to hang on a tracepoint.
    #[must_use]
    pub fn tracepoint(&self, name: &str) -> Option<u32> {
        self.tracepoints.get(name.as_bytes()).copied()
    }

    fn member(&self, id: u32, name: &[u8], nesting: u32) -> Result<Option<(u64, u32)>, BtfError> {
        let at = self.position(id)?;
        let (kind, count) = self.kind(at)?;
        if !matches!(kind, KIND_STRUCT | KIND_UNION) || nesting > MAX_NESTING {
            return Ok(None);
        }
        let has_bit_fields = self.u32(at + 4)? >> 31 == 1;
        for index in 0..count {
            let entry = at + TYPE_LEN + index * MEMBER_LEN;
            let member = self.string(self.u32(entry)?)?;
            let member_type = self.u32(entry + 4)?;
            let bits = self.u32(entry + 8)?;
            let bytes = u64::from(if has_bit_fields { bits & 0xff_ffff } else { bits }) / 8;
            if member == name {
                return Ok(Some((bytes, member_type)));
            }
            if member.is_empty() {
                let inner = self.unqualified(member_type)?;
                if let Some((inside, found)) = self.member(inner, name, nesting + 1)? {
                    return Ok(Some((bytes + inside, found)));
                }
            }
        }
        Ok(None)
    }

    /// Follows typedefs, const, volatile, restrict and tags.
    fn unqualified(&self, mut id: u32) -> Result<u32, BtfError> {
        for _ in 0..MAX_NESTING {
            if id == 0 {
                return Ok(0);
            }
            let at = self.position(id)?;
            match self.kind(at)?.0 {
                8..=11 | 18 => id = self.u32(at + 8)?,
                _ => return Ok(id),
            }
        }
        Ok(id)
    }

    fn position(&self, id: u32) -> Result<usize, BtfError> {
        match self.types.get(id as usize) {
            Some(at) if id != 0 => Ok(*at),
            _ => Err(BtfError::Damaged { at: self.data.len(), what: "a reference to a type that exists" }),
        }
    }

    /// Kind and number of entries of the type at a position.
    fn kind(&self, at: usize) -> Result<(u32, usize), BtfError> {
        let info = self.u32(at + 4)?;
        Ok(((info >> 24) & 31, (info & 0xffff) as usize))
    }

    fn string(&self, offset: u32) -> Result<&[u8], BtfError> {
        let at = self.strings.0.saturating_add(offset as usize);
        let tail = self
            .data
            .get(at..self.strings.1)
            .ok_or(BtfError::Damaged { at, what: "a name inside the string section" })?;
        let end = tail
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(BtfError::Damaged { at, what: "a name that ends" })?;
        Ok(&tail[..end])
    }

    fn u32(&self, at: usize) -> Result<u32, BtfError> {
        let bytes = self.data.get(at..at.saturating_add(4)).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_le_bytes).ok_or(BtfError::Damaged { at, what: "four more bytes" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct outer { int head; union { struct inner named; int other; }; };  struct inner { int a; int b; };`
    fn sample() -> Vec<u8> {
        let strings = b"\0int\0outer\0head\0other\0inner\0a\0b\0named\0";
        let name = |text: &str| {
            let text = [text.as_bytes(), b"\0"].concat();
            strings.windows(text.len()).position(|window| window == text).unwrap() as u32
        };
        let kind = |kind: u32, count: u32| kind << 24 | count;
        let mut words = Vec::new();
        words.extend([name("int"), kind(1, 0), 4, 32]); // 1
        words.extend([name("inner"), kind(KIND_STRUCT, 2), 8]); // 2
        words.extend([name("a"), 1, 0, name("b"), 1, 32]);
        words.extend([0, kind(8, 0), 2]); // 3: typedef-like indirection, anonymous is enough here
        words.extend([0, kind(KIND_UNION, 2), 8]); // 4
        words.extend([name("named"), 3, 0, name("other"), 1, 0]);
        words.extend([name("outer"), kind(KIND_STRUCT, 2), 12]); // 5
        words.extend([name("head"), 1, 0, 0, 4, 32]);
        let mut data = Vec::new();
        for word in [0x0001_eb9f, 24, 0, words.len() as u32 * 4, words.len() as u32 * 4, strings.len() as u32]
        {
            data.extend(u32::to_le_bytes(word));
        }
        for word in words {
            data.extend(u32::to_le_bytes(word));
        }
        data.extend(strings);
        data
    }

    #[test]
    fn members_are_found_through_anonymous_unions_and_qualifiers() {
        let btf = Btf::parse(sample()).unwrap();
        for (path, offset) in [("outer.head", 0), ("outer.other", 4), ("outer.named.b", 8), ("inner.b", 4)] {
            assert_eq!(btf.offset(path, "logical").unwrap(), offset, "{path}");
        }
    }

    #[test]
    fn a_missing_field_names_itself_and_its_probe() {
        let btf = Btf::parse(sample()).unwrap();
        for path in ["outer.gone", "nothing.at_all", "outer.head.deeper"] {
            assert_eq!(
                btf.offset(path, "logical").unwrap_err().to_string(),
                format!("this kernel has no field `{path}`, which the logical probe needs")
            );
        }
    }

    #[test]
    fn no_truncation_or_flipped_byte_makes_it_panic() {
        let whole = sample();
        for end in 0..whole.len() {
            assert!(Btf::parse(whole[..end].to_vec()).is_err(), "cut at {end}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            // Any answer will do, as long as it is an answer.
            let _answer = Btf::parse(damaged).and_then(|btf| btf.offset("outer.named.b", "logical"));
        }
    }

    #[test]
    fn a_kernel_without_type_information_is_told_what_it_lacks() {
        let message = Btf::read(Path::new("/nonexistent/vmlinux")).err().unwrap().to_string();
        assert!(message.contains("CONFIG_DEBUG_INFO_BTF=y"), "{message}");
    }
}
