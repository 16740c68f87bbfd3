//! The index's cache of tree objects (gitformat-index(5), "Cache tree"): which directories of the
//! index are known to equal which tree.
//!
//! With it a comparison of the index with HEAD skips whole directories, and after a commit of ours
//! it is brought up to date, so that the user's next `git commit` stays fast.
//!
//! Invariant: a node is valid (`Some`) only if all index entries beneath it make up its tree.

use std::collections::BTreeMap;

use crate::core::change::ObjectId;

/// One directory; the root has no name.
#[derive(Clone, Debug, Default)]
pub(super) struct CacheTree {
    /// The tree, and the number of index entries that it covers.
    pub(super) valid: Option<(ObjectId, u32)>,
    /// git's own order (by length, then bytes) is made when writing.
    children: BTreeMap<Vec<u8>, CacheTree>,
}

const MAX_DEPTH: usize = 2048;

impl CacheTree {
    /// `None`: damaged, which is no error for a cache.
    pub(super) fn parse(mut bytes: &[u8], hash: usize) -> Option<Self> {
        let (_, root) = Self::parse_node(&mut bytes, hash, 0)?;
        bytes.is_empty().then_some(root)
    }

    fn parse_node(bytes: &mut &[u8], hash: usize, depth: usize) -> Option<(Vec<u8>, Self)> {
        if depth > MAX_DEPTH {
            return None;
        }
        let name = take_until(bytes, 0)?.to_vec();
        let count: i64 = std::str::from_utf8(take_until(bytes, b' ')?).ok()?.parse().ok()?;
        let subtrees: u32 = std::str::from_utf8(take_until(bytes, b'\n')?).ok()?.parse().ok()?;
        let mut node = Self::default();
        if let Ok(count) = u32::try_from(count) {
            let (id, rest) = bytes.split_at_checked(hash)?;
            *bytes = rest;
            node.valid = Some((ObjectId::from_bytes(id)?, count));
        }
        for _ in 0..subtrees {
            let (name, child) = Self::parse_node(bytes, hash, depth + 1)?;
            node.children.insert(name, child);
        }
        Some((name, node))
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_node(b"", &mut out);
        out
    }

    fn encode_node(&self, name: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(name);
        out.push(0);
        let count = self.valid.map_or(-1, |(_, n)| i64::from(n));
        out.extend_from_slice(format!("{count} {}\n", self.children.len()).as_bytes());
        if let Some((id, _)) = &self.valid {
            out.extend_from_slice(id.as_bytes());
        }
        let mut children: Vec<_> = self.children.iter().collect();
        children.sort_by_key(|(name, _)| (name.len(), *name));
        for (name, child) in children {
            child.encode_node(name, out);
        }
    }

    pub(super) fn child(&self, name: &[u8]) -> Option<&Self> {
        self.children.get(name)
    }

    pub(super) fn child_mut(&mut self, name: &[u8]) -> Option<&mut Self> {
        self.children.get_mut(name)
    }

    /// Forgets a directory that is no more.
    pub(super) fn remove(&mut self, name: &[u8]) {
        self.children.remove(name);
    }

    /// Marks every directory above `path` as unknown.
    pub(super) fn invalidate(&mut self, path: &[u8]) {
        self.valid = None;
        let mut node = self;
        let mut parts = path.split(|b| *b == b'/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                node.children.remove(part);
                return;
            }
            let Some(child) = node.children.get_mut(part) else { return };
            child.valid = None;
            node = child;
        }
    }
}

fn take_until<'b>(bytes: &mut &'b [u8], end: u8) -> Option<&'b [u8]> {
    let cut = bytes.iter().position(|b| *b == end)?;
    let (head, rest) = bytes.split_at(cut);
    *bytes = &rest[1..];
    Some(head)
}
