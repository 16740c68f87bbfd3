//! A mount table as procfs prints it (proc_pid_mountinfo(5)).
//!
//! Invariant: bytes in, bytes out; a line that does not parse is left out.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) id: u64,
    pub(super) device: u64,
    /// What is mounted: a path within its file system.
    pub(super) root: Vec<u8>,
    /// Where: a path from the root of the process whose table it is.
    pub(super) point: Vec<u8>,
}

pub(super) fn parse(table: &[u8]) -> impl Iterator<Item = Mount> {
    table.split(|b| *b == b'\n').filter_map(|line| {
        // 36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw
        let mut fields = line.split(|b| *b == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let (major, minor) = std::str::from_utf8(fields.nth(1)?).ok()?.split_once(':')?;
        let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
        let root = plain(fields.next()?);
        let point = plain(fields.next()?);
        (root.starts_with(b"/") && point.starts_with(b"/")).then_some(Mount { id, device, root, point })
    })
}

/// Space, tab, newline and backslash are printed as three octal digits.
fn plain(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                out.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
                rest = after;
            }
            _ => out.push(*first),
        }
    }
    out
}

/// What is left of `path` beneath `dir`, without a slash in front; `None`: it is not beneath it.
pub(super) fn beneath<'p>(path: &'p [u8], dir: &[u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(dir.strip_suffix(b"/").unwrap_or(dir))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// The last `count` components of `path`; `None`: it has fewer.
pub(super) fn tail(path: &[u8], count: usize) -> Option<&[u8]> {
    if count == 0 {
        return Some(b"");
    }
    let (at, _) = path.iter().enumerate().rev().filter(|(_, b)| **b == b'/').nth(count - 1)?;
    Some(&path[at + 1..])
}

/// `dir/rest`, where either may be empty.
pub(super) fn join(dir: &[u8], rest: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(dir.len() + 1 + rest.len());
    path.extend_from_slice(dir);
    if !rest.is_empty() {
        if !dir.is_empty() && !dir.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(rest);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read() {
        let table = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n\
            37 36 0:5 /a\\040b /c\\134d\\012 rw - tmpfs tmpfs rw\n38 36 0:4 net:[402] /run/ns rw - nsfs nsfs rw\nnonsense\n";
        let mount = |id, (major, minor), root: &str, point: &str| {
            let device = rustix::fs::makedev(major, minor);
            Mount { id, device, root: root.into(), point: point.into() }
        };
        let found: Vec<_> = parse(table).collect();
        assert_eq!(found, [mount(36, (98, 0), "/mnt1", "/mnt2"), mount(37, (0, 5), "/a b", "/c\\d\n")]);
    }

    #[test]
    fn paths_are_cut_and_joined() {
        assert_eq!(beneath(b"/a/b/c", b"/a"), Some(&b"b/c"[..]));
        assert_eq!(beneath(b"/a", b"/a"), Some(&b""[..]));
        assert_eq!(beneath(b"/ab", b"/a"), None);
        assert_eq!(beneath(b"/ab", b"/"), Some(&b"ab"[..]));
        assert_eq!(tail(b"/a/b/c", 2), Some(&b"b/c"[..]));
        assert_eq!(tail(b"/a/b/c", 3), Some(&b"a/b/c"[..]));
        assert_eq!(tail(b"/a/b/c", 4), None);
        assert_eq!(join(b"/", b"a"), b"/a");
        assert_eq!(join(b"a", b"b"), b"a/b");
        assert_eq!(join(b"", b"b"), b"b");
        assert_eq!(join(b"a", b""), b"a");
    }
}
