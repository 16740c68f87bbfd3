//! The directories that are watched, by parent and name, so that a rename moves all beneath it at once.
//!
//! Invariant: every node but the root hangs under a node of the tree, no two children of one have the
//! same name, and nobody is its own ancestor. A node is known by the kernel's watch number, which stays
//! with the directory wherever it is moved, and is not given out again while the instance lives (the
//! kernel counts up to 2³¹ first).
//!
//! Deliberately absent: system calls. What falls out of the tree is handed back, for its watch to be removed.

use std::collections::BTreeMap;

/// The kernel's number of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wd(pub(super) i32);

#[derive(Debug)]
struct Node {
    parent: Option<Wd>,
    name: Box<[u8]>,
    /// Ordered by name.
    children: Vec<Wd>,
    /// The walk that last came by.
    round: u32,
}

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<Wd, Node>,
    root: Option<Wd>,
}

/// What came of putting a directory in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    New,
    Kept,
    Moved,
    /// It would have become its own ancestor, which only a bind mount can bring about; nothing was done.
    Refused,
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn root(&self) -> Option<Wd> {
        self.root
    }

    pub(super) fn child(&self, parent: Wd, name: &[u8]) -> Option<Wd> {
        let node = self.nodes.get(&parent)?;
        let at = self.position(node, name).ok()?;
        node.children.get(at).copied()
    }

    fn position(&self, node: &Node, name: &[u8]) -> Result<usize, usize> {
        node.children.binary_search_by(|child| self.nodes.get(child).map_or(&[][..], |n| &n.name).cmp(name))
    }

    /// Writes the path of `name` in the directory `dir` (or of `dir` itself) to `out`, without a leading
    /// slash; the root's own is empty. `false`: there is no such directory.
    pub(super) fn path(&self, dir: Wd, name: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
        out.clear();
        if !self.nodes.contains_key(&dir) {
            return false;
        }
        let up = || {
            let mut at = self.nodes.get(&dir);
            std::iter::from_fn(move || {
                let node = at?;
                at = self.nodes.get(&node.parent?);
                Some(&node.name)
            })
        };
        let last = name.unwrap_or_default();
        let beneath: usize = up().map(|name| name.len() + 1).sum();
        out.resize(beneath + last.len(), b'/');
        out[beneath..].copy_from_slice(last);
        let mut end = beneath;
        for name in up() {
            end -= name.len() + 1;
            out[end..end + name.len()].copy_from_slice(name);
        }
        if name.is_none() {
            out.pop();
        }
        true
    }

    /// Is `dir` the directory `top` or beneath it?
    pub(super) fn is_within(&self, dir: Wd, top: Wd) -> bool {
        let mut at = Some(dir);
        while let Some(wd) = at {
            if wd == top {
                return true;
            }
            at = self.nodes.get(&wd).and_then(|node| node.parent);
        }
        false
    }

    /// Makes `wd` the root. If it was another before, that one and all beneath it fall out.
    pub(super) fn set_root(&mut self, wd: Wd, round: u32) -> Vec<Wd> {
        let mut gone = Vec::new();
        if let Some(old) = self.root.filter(|old| *old != wd) {
            self.detach(wd);
            gone = self.remove(old);
        }
        let node = Node { parent: None, name: Box::default(), children: Vec::new(), round };
        let node = self.nodes.entry(wd).or_insert(node);
        (node.parent, node.name, node.round) = (None, Box::default(), round);
        self.root = Some(wd);
        gone
    }

    /// Says that `wd` is `name` in `parent`, and handed back is what has to make room: whatever was known
    /// under that name, with all beneath it.
    pub(super) fn place(&mut self, wd: Wd, parent: Wd, name: &[u8], round: u32) -> (Place, Vec<Wd>) {
        if !self.nodes.contains_key(&parent) || self.is_within(parent, wd) {
            return (Place::Refused, Vec::new());
        }
        let known = self.nodes.contains_key(&wd);
        let there = self.child(parent, name);
        if there == Some(wd) {
            self.visit(wd, round);
            return (Place::Kept, Vec::new());
        }
        self.detach(wd);
        let gone = there.map(|other| self.remove(other)).unwrap_or_default();
        let node = Node { parent: None, name: Box::default(), children: Vec::new(), round };
        let node = self.nodes.entry(wd).or_insert(node);
        (node.parent, node.name, node.round) = (Some(parent), name.into(), round);
        let at = self.nodes.get(&parent).and_then(|node| self.position(node, name).err());
        if let (Some(at), Some(node)) = (at, self.nodes.get_mut(&parent)) {
            node.children.insert(at, wd);
        }
        (if known { Place::Moved } else { Place::New }, gone)
    }

    fn visit(&mut self, wd: Wd, round: u32) {
        if let Some(node) = self.nodes.get_mut(&wd) {
            node.round = round;
        }
    }

    /// Takes `wd` from the list of its parent; the node itself stays.
    fn detach(&mut self, wd: Wd) {
        let Some(node) = self.nodes.get(&wd) else { return };
        let Some(parent) = node.parent.and_then(|parent| self.nodes.get(&parent)) else { return };
        let (at, parent) = (self.position(parent, &node.name), node.parent);
        if let (Ok(at), Some(parent)) = (at, parent.and_then(|parent| self.nodes.get_mut(&parent))) {
            parent.children.remove(at);
        }
    }

    /// Drops `wd` and all beneath it, and returns them; nothing if it is not known.
    pub(super) fn remove(&mut self, wd: Wd) -> Vec<Wd> {
        self.detach(wd);
        let mut gone = Vec::new();
        let mut open = vec![wd];
        while let Some(wd) = open.pop() {
            if let Some(node) = self.nodes.remove(&wd) {
                gone.push(wd);
                open.extend(node.children);
            }
        }
        if self.root.is_some_and(|root| !self.nodes.contains_key(&root)) {
            self.root = None;
        }
        gone
    }

    /// Drops what the walk numbered `round` did not come by, and returns it.
    pub(super) fn sweep(&mut self, round: u32) -> Vec<Wd> {
        let old: Vec<Wd> = self.nodes.iter().filter(|(_, node)| node.round != round).map(|(wd, _)| *wd).collect();
        old.into_iter().flat_map(|wd| self.remove(wd)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// root(1) with a(2), a/b(3), a/b/c(4), d(5).
    fn tree() -> Tree {
        let mut tree = Tree::default();
        assert_eq!(tree.set_root(Wd(1), 0), []);
        for (wd, parent, name) in [(2, 1, "a"), (3, 2, "b"), (4, 3, "c"), (5, 1, "d")] {
            assert_eq!(tree.place(Wd(wd), Wd(parent), name.as_bytes(), 0), (Place::New, vec![]));
        }
        tree
    }

    fn path(tree: &Tree, wd: i32, name: Option<&str>) -> Option<String> {
        let mut out = b"left over".to_vec();
        tree.path(Wd(wd), name.map(str::as_bytes), &mut out).then(|| String::from_utf8(out).unwrap())
    }

    fn check(tree: &Tree, expected: &[(i32, &str)]) {
        let all: Vec<_> = tree.nodes.keys().map(|wd| (wd.0, path(tree, wd.0, None).unwrap())).collect();
        let all: Vec<_> = all.iter().map(|(wd, path)| (*wd, path.as_str())).collect();
        assert_eq!(all, expected);
    }

    #[test]
    fn paths_are_put_together_from_names() {
        let tree = tree();
        check(&tree, &[(1, ""), (2, "a"), (3, "a/b"), (4, "a/b/c"), (5, "d")]);
        assert_eq!(path(&tree, 1, Some("f")).as_deref(), Some("f"));
        assert_eq!(path(&tree, 4, Some("f")).as_deref(), Some("a/b/c/f"));
        assert_eq!(path(&tree, 9, Some("f")), None);
        assert_eq!(tree.child(Wd(2), b"b"), Some(Wd(3)));
        assert_eq!(tree.child(Wd(2), b"c"), None);
    }

    #[test]
    fn a_rename_moves_all_beneath() {
        let mut tree = tree();
        assert_eq!(tree.place(Wd(3), Wd(5), b"e", 0), (Place::Moved, vec![]));
        check(&tree, &[(1, ""), (2, "a"), (3, "d/e"), (4, "d/e/c"), (5, "d")]);
        assert_eq!(tree.child(Wd(2), b"b"), None);
        assert_eq!(tree.place(Wd(3), Wd(5), b"e", 0), (Place::Kept, vec![]));
    }

    #[test]
    fn what_had_the_name_makes_room() {
        let mut tree = tree();
        let (placed, mut gone) = tree.place(Wd(5), Wd(1), b"a", 0);
        gone.sort();
        assert_eq!((placed, gone), (Place::Moved, vec![Wd(2), Wd(3), Wd(4)]));
        check(&tree, &[(1, ""), (5, "a")]);
        // A child that takes the place of its parent does not fall with it.
        let mut tree = self::tree();
        assert_eq!(tree.place(Wd(3), Wd(1), b"a", 0), (Place::Moved, vec![Wd(2)]));
        check(&tree, &[(1, ""), (3, "a"), (4, "a/c"), (5, "d")]);
    }

    #[test]
    fn nobody_becomes_its_own_ancestor() {
        let mut tree = tree();
        assert_eq!(tree.place(Wd(2), Wd(4), b"x", 0).0, Place::Refused);
        assert_eq!(tree.place(Wd(1), Wd(4), b"x", 0).0, Place::Refused);
        assert_eq!(tree.place(Wd(6), Wd(9), b"x", 0).0, Place::Refused);
        check(&tree, &[(1, ""), (2, "a"), (3, "a/b"), (4, "a/b/c"), (5, "d")]);
    }

    #[test]
    fn a_walk_drops_what_it_did_not_meet() {
        let mut tree = tree();
        assert_eq!(tree.set_root(Wd(1), 1), []);
        assert_eq!(tree.place(Wd(2), Wd(1), b"a", 1).0, Place::Kept);
        let mut gone = tree.sweep(1);
        gone.sort();
        assert_eq!(gone, [Wd(3), Wd(4), Wd(5)]);
        check(&tree, &[(1, ""), (2, "a")]);
        assert_eq!(tree.remove(Wd(7)), []);
        assert_eq!(tree.remove(Wd(1)).len(), 2);
        assert_eq!((tree.root(), tree.len()), (None, 0));
    }

    #[test]
    fn another_root_takes_over() {
        let mut tree = tree();
        assert_eq!(tree.set_root(Wd(8), 1).len(), 5);
        check(&tree, &[(8, "")]);
        // A directory of the old tree may be the new root.
        let mut tree = self::tree();
        let mut gone = tree.set_root(Wd(3), 1);
        gone.sort();
        assert_eq!(gone, [Wd(1), Wd(2), Wd(5)]);
        check(&tree, &[(3, ""), (4, "c")]);
    }
}
