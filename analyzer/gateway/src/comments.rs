//! The comments of contracts, which are their documentation.

use prost_reflect::{EnumDescriptor, FieldDescriptor, FileDescriptor, MessageDescriptor, MethodDescriptor};
use prost_reflect::{EnumValueDescriptor, ServiceDescriptor};

/// What a comment stands above.
pub(crate) trait Commented {
    fn comment(&self) -> String;
}

macro_rules! commented {
    ($($kind:ty),*) => {
        $(impl Commented for $kind {
            fn comment(&self) -> String {
                of(&self.parent_file(), self.path())
            }
        })*
    };
}

commented!(EnumDescriptor, FieldDescriptor, MessageDescriptor, MethodDescriptor, ServiceDescriptor);

impl Commented for EnumValueDescriptor {
    fn comment(&self) -> String {
        of(&self.parent_enum().parent_file(), self.path())
    }
}

/// As one paragraph; empty if there is none.
fn of(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|location| location.path == path));
    let comment = location.and_then(|location| location.leading_comments.as_deref()).unwrap_or_default();
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}
