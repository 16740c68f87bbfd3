//! What an attempt did to the workspace: entries before and after, and whose work they are.
//!
//! Invariant: a [`Change`] differs between its two sides.

use std::fmt;

use super::path::RepoPath;

/// An object name of git: the hash of the object's content, SHA-1 or SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId {
    bytes: [u8; 32],
    len: u8,
}

impl ObjectId {
    /// `bytes` are the 20 (SHA-1) or 32 (SHA-256) bytes of the hash; another length is `None`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let len = match bytes.len() {
            20 => 20,
            32 => 32,
            _ => return None,
        };
        let mut all = [0; 32];
        all[..bytes.len()].copy_from_slice(bytes);
        Some(Self { bytes: all, len })
    }

    /// Reads 40 or 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let digits = hex.as_bytes();
        if !hex.is_ascii() || !matches!(digits.len(), 40 | 64) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok()?;
        }
        Self::from_bytes(&bytes[..digits.len() / 2])
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The first seven digits, for people.
    #[must_use]
    pub fn short(&self) -> String {
        self.to_string()[..7].to_owned()
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// The kinds of entry that git records (gitformat-index(5), "mode").
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// 100644
    File,
    /// 100755
    Executable,
    /// 120000; the object holds the link's target
    Symlink,
    /// 160000; the object id is a commit of another repository. Reported, never descended into.
    Submodule,
}

impl Mode {
    /// The number that git writes, in octal `0o100644` and so on.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Self::File => 0o100_644,
            Self::Executable => 0o100_755,
            Self::Symlink => 0o120_000,
            Self::Submodule => 0o160_000,
        }
    }

    #[must_use]
    pub fn from_bits(bits: u32) -> Option<Self> {
        [Self::File, Self::Executable, Self::Symlink, Self::Submodule].into_iter().find(|m| m.bits() == bits)
    }
}

/// One side of a change: what a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry {
    pub mode: Mode,
    pub id: ObjectId,
}

/// A path that is not now what it was. `None` means that nothing (that git would record) is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub path: RepoPath,
    pub before: Option<Entry>,
    pub after: Option<Entry>,
}

/// How sure we are whose a write is. A guess is never shown as a fact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribution {
    /// This process tree made the call: seen.
    Certain,
    /// Exactly one live agent claims the path.
    Inferred,
    /// Nobody can say.
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn object_ids_read_what_they_print() {
        for hex in ["4b825dc642cb6eb9a060e54bf8d69288fbee4904", &"ab".repeat(32)] {
            assert_eq!(ObjectId::from_hex(hex).unwrap().to_string(), hex);
        }
        for bad in ["", "4b825", "zz825dc642cb6eb9a060e54bf8d69288fbee4904", &"é".repeat(20)] {
            assert_eq!(ObjectId::from_hex(bad), None, "{bad}");
        }
    }
}
