//! Objects, references and configuration: libgit2 where it can open the repository, `git` where not
//! (SHA-256, reftable, extensions that libgit2 does not know).
//!
//! Invariant: trees and commits are read and written as raw bytes here, in one way for both; the
//! two differ only in who stores them.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;

use git2::{AttrCheckFlags, AttrValue, ErrorCode, ObjectType, Oid};

use crate::core::change::{Entry, Mode, ObjectId};
use crate::core::path::RepoPath;

use super::Head;
use super::command::Git;
use super::error::GitError;
use super::files::{Root, Stat};
use super::hash;

/// Files up to this size are read whole; larger ones are streamed.
const WHOLE: u64 = 8 << 20;

pub(super) struct Objects {
    pub(super) lib: Option<git2::Repository>,
    pub(super) git: Git,
    /// 20 or 32.
    pub(super) hash_len: usize,
    /// `core.autocrlf` is on, so every text file may be converted.
    pub(super) autocrlf: bool,
    pub(super) sign: bool,
    /// Attributes may apply to some path.
    pub(super) attributes: bool,
}

/// What git does to a file's bytes on the way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conversion {
    None,
    /// Line ends: only files with a carriage return are changed by it.
    LineEnds,
    /// Filter programs, encodings, `$Id$`: only git can say.
    Program,
}

/// Something of the workspace as git holds it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) entry: Entry,
    /// The object is, byte for byte, what is on disk.
    pub(super) raw: bool,
}

/// One line of a tree object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TreeItem {
    /// As git writes it, `0o40000` for a tree.
    pub(super) mode: u32,
    pub(super) name: Vec<u8>,
    pub(super) id: ObjectId,
}

pub(super) const TREE_MODE: u32 = 0o040_000;

/// What we need of a commit.
#[derive(Clone, Debug)]
pub(super) struct CommitInfo {
    pub(super) tree: ObjectId,
    pub(super) parent: Option<ObjectId>,
    /// `Name <mail> seconds zone`
    pub(super) author: String,
    pub(super) message: Vec<u8>,
}

pub(super) fn oid(id: &ObjectId) -> Result<Oid, GitError> {
    Oid::from_bytes(id.as_bytes()).map_err(GitError::lib("reading an object's name"))
}

pub(super) fn object_id(oid: Oid) -> Result<ObjectId, GitError> {
    ObjectId::from_bytes(oid.as_bytes()).ok_or_else(|| GitError::Object(oid.to_string()))
}

fn parse_id(text: &OsStr) -> Result<ObjectId, GitError> {
    let text = text.to_string_lossy();
    ObjectId::from_hex(text.trim()).ok_or_else(|| GitError::Object(text.trim().to_owned()))
}

impl Objects {
    fn read(&self, id: &ObjectId, kind: ObjectType) -> Result<Vec<u8>, GitError> {
        if let Some(lib) = &self.lib {
            let odb = lib.odb().map_err(GitError::lib("opening the object database"))?;
            match odb.read(oid(id)?) {
                Ok(object) if object.kind() == kind => return Ok(object.data().to_vec()),
                Ok(_) => return Err(GitError::Object(id.to_string())),
                // In a partial clone git can still fetch it.
                Err(e) if e.code() == ErrorCode::NotFound => {}
                Err(e) => return Err(GitError::lib(format!("reading the object {id}"))(e)),
            }
        }
        self.git.run(&["cat-file", kind.str(), &id.to_string()], b"")
    }

    fn write(&self, kind: ObjectType, data: &[u8]) -> Result<ObjectId, GitError> {
        if let Some(lib) = &self.lib {
            let odb = lib.odb().map_err(GitError::lib("opening the object database"))?;
            return object_id(odb.write(kind, data).map_err(GitError::lib("writing an object"))?);
        }
        let out = self.git.run(&["hash-object", "-w", "--no-filters", "--stdin", "-t", kind.str()], data)?;
        parse_id(OsStr::from_bytes(&out))
    }

    pub(super) fn write_blob(&self, data: &[u8]) -> Result<ObjectId, GitError> {
        self.write(ObjectType::Blob, data)
    }

    pub(super) fn read_tree(&self, id: &ObjectId) -> Result<Vec<TreeItem>, GitError> {
        let bytes = self.read(id, ObjectType::Tree)?;
        parse_tree(&bytes, self.hash_len).ok_or_else(|| GitError::Object(id.to_string()))
    }

    pub(super) fn write_tree(&self, items: &[TreeItem]) -> Result<ObjectId, GitError> {
        let mut bytes = Vec::new();
        for item in items {
            bytes.extend_from_slice(format!("{:o} ", item.mode).as_bytes());
            bytes.extend_from_slice(&item.name);
            bytes.push(0);
            bytes.extend_from_slice(item.id.as_bytes());
        }
        self.write(ObjectType::Tree, &bytes)
    }

    /// The content of a blob that is known to be small, say a link's target.
    pub(super) fn small_blob(&self, id: &ObjectId) -> Result<Vec<u8>, GitError> {
        self.read(id, ObjectType::Blob)
    }

    /// Copies a blob of any size to a file. libgit2 holds the whole of it in memory; for a large one
    /// git does, in a process of its own that is soon gone.
    pub(super) fn copy_blob(&self, id: &ObjectId, to: &mut File) -> Result<(), GitError> {
        if self.blob_size(id)? > WHOLE {
            return self.git.run_into(&["cat-file", "blob", &id.to_string()], to);
        }
        to.write_all(&self.read(id, ObjectType::Blob)?).map_err(GitError::io(format!("copying the object {id}")))
    }

    /// The size of a blob.
    pub(super) fn blob_size(&self, id: &ObjectId) -> Result<u64, GitError> {
        if let Some(lib) = &self.lib {
            let odb = lib.odb().map_err(GitError::lib("opening the object database"))?;
            let (size, _) = odb.read_header(oid(id)?).map_err(GitError::lib(format!("reading the object {id}")))?;
            return Ok(size as u64);
        }
        let out = self.git.line(&["cat-file", "-s", &id.to_string()])?;
        out.to_string_lossy().parse().map_err(|_| GitError::Object(id.to_string()))
    }

    pub(super) fn read_commit(&self, id: &ObjectId) -> Result<CommitInfo, GitError> {
        let bytes = self.read(id, ObjectType::Commit)?;
        parse_commit(&bytes).ok_or_else(|| GitError::Object(id.to_string()))
    }

    /// Writes a commit for the branch by the configured person, `author` excepted where it is given;
    /// signed where that is configured.
    pub(super) fn write_commit(&self, info: &CommitInfo) -> Result<ObjectId, GitError> {
        if self.sign { self.write_signed(info) } else { self.write_unsigned(info) }
    }

    /// The same for commits that only keep work: nothing that a signature needs may be in their way.
    pub(super) fn write_unsigned(&self, info: &CommitInfo) -> Result<ObjectId, GitError> {
        let committer = self.identity()?;
        let mut out = format!("tree {}\n", info.tree).into_bytes();
        if let Some(parent) = &info.parent {
            out.extend_from_slice(format!("parent {parent}\n").as_bytes());
        }
        out.extend_from_slice(format!("author {}\ncommitter {committer}\n\n", info.author).as_bytes());
        out.extend_from_slice(&info.message);
        self.write(ObjectType::Commit, &out)
    }

    fn write_signed(&self, info: &CommitInfo) -> Result<ObjectId, GitError> {
        let bad = || GitError::Object("author".to_owned());
        let (name, rest) = info.author.split_once(" <").ok_or_else(bad)?;
        let (mail, date) = rest.split_once("> ").ok_or_else(bad)?;
        let git = self
            .git
            .with("GIT_AUTHOR_NAME", name)
            .with("GIT_AUTHOR_EMAIL", mail)
            .with("GIT_AUTHOR_DATE", format!("@{date}"));
        let tree = info.tree.to_string();
        let parent = info.parent.map(|p| p.to_string());
        let mut args = vec!["commit-tree", "-S", "-F", "-", &tree];
        if let Some(parent) = &parent {
            args.extend(["-p", parent]);
        }
        parse_id(OsStr::from_bytes(&git.run(&args, &info.message)?))
    }

    /// The configured person and the present time, as commits write them.
    pub(super) fn identity(&self) -> Result<String, GitError> {
        if let Some(lib) = &self.lib {
            let who = lib.signature().map_err(|_| GitError::NoIdentity)?;
            let when = who.when();
            let minutes = when.offset_minutes().abs();
            let name = String::from_utf8_lossy(who.name_bytes()).into_owned();
            let mail = String::from_utf8_lossy(who.email_bytes()).into_owned();
            let sign = when.sign();
            return Ok(format!("{name} <{mail}> {} {sign}{:02}{:02}", when.seconds(), minutes / 60, minutes % 60));
        }
        let out = self.git.line(&["var", "GIT_COMMITTER_IDENT"]).map_err(|_| GitError::NoIdentity)?;
        Ok(out.to_string_lossy().into_owned())
    }

    pub(super) fn head(&self) -> Result<Head, GitError> {
        let Some(lib) = &self.lib else {
            let out = self.git.try_run(&["symbolic-ref", "-q", "HEAD"], b"")?;
            let name = String::from_utf8_lossy(&out.stdout).trim().to_owned();
            let branch = (!name.is_empty()).then_some(name);
            return Ok(Head { branch, commit: self.read_reference("HEAD")? });
        };
        let head = lib.find_reference("HEAD").map_err(GitError::lib("reading HEAD"))?;
        match head.symbolic_target_bytes() {
            Some(name) => {
                let branch = String::from_utf8_lossy(name).into_owned();
                let commit = self.read_reference(&branch)?;
                Ok(Head { branch: Some(branch), commit })
            }
            None => Ok(Head { branch: None, commit: head.target().map(object_id).transpose()? }),
        }
    }

    /// What a reference holds in the end; `None`: it does not exist.
    pub(super) fn read_reference(&self, name: &str) -> Result<Option<ObjectId>, GitError> {
        if let Some(lib) = &self.lib {
            return match lib.refname_to_id(name) {
                Ok(id) => object_id(id).map(Some),
                Err(e) if e.code() == ErrorCode::NotFound => Ok(None),
                Err(e) => Err(GitError::lib(format!("reading the reference `{name}`"))(e)),
            };
        }
        let out = self.git.try_run(&["rev-parse", "-q", "--verify", name], b"")?;
        if out.stdout.is_empty() { Ok(None) } else { parse_id(OsStr::from_bytes(&out.stdout)).map(Some) }
    }

    /// All references whose names begin with `prefix` (which ends in `/`), and what they hold.
    pub(super) fn references(&self, prefix: &str) -> Result<Vec<(String, ObjectId)>, GitError> {
        let mut found = Vec::new();
        if let Some(lib) = &self.lib {
            let failed = || GitError::lib(format!("listing the references `{prefix}`"));
            for reference in lib.references_glob(&format!("{prefix}*")).map_err(failed())? {
                let reference = reference.map_err(failed())?;
                if let (Ok(name), Some(target)) = (reference.name(), reference.target()) {
                    found.push((name.to_owned(), object_id(target)?));
                }
            }
            return Ok(found);
        }
        let out = self.git.run(&["for-each-ref", "--format=%(objectname) %(refname)", prefix], b"")?;
        for line in String::from_utf8_lossy(&out).lines() {
            let Some((id, name)) = line.split_once(' ') else { continue };
            found.push((name.to_owned(), parse_id(OsStr::new(id))?));
        }
        Ok(found)
    }

    /// Sets `name` to `new` if it still holds `old` (`None`: does not exist).
    pub(super) fn swap_reference(
        &self,
        name: &str,
        old: Option<&ObjectId>,
        new: &ObjectId,
        log: &str,
    ) -> Result<(), GitError> {
        if let Some(lib) = &self.lib {
            let result = match old {
                Some(old) => lib.reference_matching(name, oid(new)?, true, oid(old)?, log),
                None => lib.reference(name, oid(new)?, false, log),
            };
            return match result {
                Ok(_) => Ok(()),
                Err(e) if matches!(e.code(), ErrorCode::Modified | ErrorCode::Exists | ErrorCode::NotFound) => {
                    Err(GitError::Moved(name.to_owned()))
                }
                Err(e) => Err(GitError::lib(format!("moving the reference `{name}`"))(e)),
            };
        }
        let zero = "0".repeat(self.hash_len * 2);
        let old = old.map_or(zero, ToString::to_string);
        let target = new.to_string();
        match self.git.run(&["update-ref", "--no-deref", "-m", log, name, &target, &old], b"") {
            Ok(_) => Ok(()),
            Err(e) => match self.read_reference(name)? {
                now if now.map_or_else(|| "0".repeat(self.hash_len * 2), |n| n.to_string()) != old => {
                    Err(GitError::Moved(name.to_owned()))
                }
                _ => Err(e),
            },
        }
    }

    /// Sets a private reference, whatever it held.
    pub(super) fn set_reference(&self, name: &str, new: &ObjectId) -> Result<(), GitError> {
        if let Some(lib) = &self.lib {
            return lib
                .reference(name, oid(new)?, true, "supervise")
                .map(drop)
                .map_err(GitError::lib(format!("setting the reference `{name}`")));
        }
        self.git.run(&["update-ref", name, &new.to_string()], b"").map(drop)
    }

    /// Removes a reference if it is there.
    pub(super) fn delete_reference(&self, name: &str) -> Result<(), GitError> {
        if let Some(lib) = &self.lib {
            return match lib.find_reference(name).and_then(|mut r| r.delete()) {
                Ok(()) => Ok(()),
                Err(e) if e.code() == ErrorCode::NotFound => Ok(()),
                Err(e) => Err(GitError::lib(format!("removing the reference `{name}`"))(e)),
            };
        }
        self.git.run(&["update-ref", "-d", name], b"").map(drop)
    }

    /// Is `old` in the history of `new` (or the same)?
    pub(super) fn is_ancestor(&self, old: &ObjectId, new: &ObjectId) -> Result<bool, GitError> {
        if old == new {
            return Ok(true);
        }
        if let Some(lib) = &self.lib {
            return lib
                .graph_descendant_of(oid(new)?, oid(old)?)
                .map_err(GitError::lib("comparing the histories of two commits"));
        }
        let out = self.git.try_run(&["merge-base", "--is-ancestor", &old.to_string(), &new.to_string()], b"")?;
        Ok(out.status.is_some_and(|s| s.success()))
    }

    /// What git would do to the bytes of this path.
    pub(super) fn conversion(&self, path: &RepoPath) -> Result<Conversion, GitError> {
        if !self.attributes && !self.autocrlf {
            return Ok(Conversion::None);
        }
        let Some(lib) = &self.lib else { return Ok(Conversion::Program) };
        let attr = |name: &str| {
            lib.get_attr_bytes(path.as_path(), name, AttrCheckFlags::FILE_THEN_INDEX)
                .map(AttrValue::from_bytes)
                .map_err(GitError::lib(format!("reading the attributes of `{path}`")))
        };
        for name in ["filter", "working-tree-encoding", "ident"] {
            if !matches!(attr(name)?, AttrValue::Unspecified | AttrValue::False) {
                return Ok(Conversion::Program);
            }
        }
        if self.autocrlf {
            return Ok(Conversion::LineEnds);
        }
        for name in ["text", "eol", "crlf"] {
            if !matches!(attr(name)?, AttrValue::Unspecified | AttrValue::False) {
                return Ok(Conversion::LineEnds);
            }
        }
        Ok(Conversion::None)
    }

    /// Stores what is on disk at `path` and tells what git would record.
    pub(super) fn store(&self, root: &Root, path: &RepoPath, stat: &Stat, mode: Mode) -> Result<Stored, GitError> {
        let failed = || GitError::io(format!("reading `{path}`"));
        let raw = |id| Ok(Stored { entry: Entry { mode, id }, raw: true });
        let converted = |id| Ok(Stored { entry: Entry { mode, id }, raw: false });
        if mode == Mode::Symlink {
            let target = root.link(path).map_err(failed())?;
            return raw(self.write_blob(&target)?);
        }
        let conversion = self.conversion(path)?;
        if conversion == Conversion::Program || (conversion == Conversion::LineEnds && stat.size > WHOLE) {
            return converted(self.store_by_git(path)?);
        }
        if stat.size > WHOLE {
            return raw(self.store_large(root, path, stat.size)?);
        }
        let bytes = root.read(path, stat.size).map_err(failed())?;
        if bytes.len() as u64 != stat.size {
            return Err(GitError::Unsteady(path.to_string()));
        }
        if conversion == Conversion::LineEnds && bytes.contains(&b'\r') {
            return converted(self.store_by_git(path)?);
        }
        raw(self.write_blob(&bytes)?)
    }

    fn store_by_git(&self, path: &RepoPath) -> Result<ObjectId, GitError> {
        let args = [OsStr::new("hash-object"), OsStr::new("-w"), OsStr::new("--"), path.as_path().as_os_str()];
        parse_id(OsStr::from_bytes(&self.git.run(&args, b"")?))
    }

    /// Reads it twice, first for the name only: most large files that look changed are known.
    fn store_large(&self, root: &Root, path: &RepoPath, size: u64) -> Result<ObjectId, GitError> {
        let failed = || GitError::io(format!("reading `{path}`"));
        let Some(lib) = &self.lib else { return self.store_by_git(path) };
        let unsteady = || GitError::Unsteady(path.to_string());
        let mut file = root.file(path).map_err(failed())?;
        let id = hash::blob_id_of_file(&mut file, size).map_err(failed())?.ok_or_else(unsteady)?;
        let odb = lib.odb().map_err(GitError::lib("opening the object database"))?;
        if odb.exists(oid(&id)?) {
            return Ok(id);
        }
        let file = root.file(path).map_err(failed())?;
        let length = usize::try_from(size).map_err(|_| unsteady())?;
        let mut writer =
            odb.writer(length, ObjectType::Blob).map_err(GitError::lib(format!("storing the file `{path}`")))?;
        let copied = io::copy(&mut file.take(size), &mut writer).map_err(GitError::io(format!("storing `{path}`")))?;
        if copied != size {
            return Err(unsteady());
        }
        object_id(writer.finalize().map_err(GitError::lib(format!("storing the file `{path}`")))?)
    }
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("libgit2", &self.lib.is_some()).finish_non_exhaustive()
    }
}

fn parse_tree(mut bytes: &[u8], hash_len: usize) -> Option<Vec<TreeItem>> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|b| *b == b' ')?;
        let mode = u32::from_str_radix(std::str::from_utf8(&bytes[..space]).ok()?, 8).ok()?;
        bytes = &bytes[space + 1..];
        let end = bytes.iter().position(|b| *b == 0)?;
        let name = bytes[..end].to_vec();
        let (id, rest) = bytes[end + 1..].split_at_checked(hash_len)?;
        items.push(TreeItem { mode, name, id: ObjectId::from_bytes(id)? });
        bytes = rest;
    }
    Some(items)
}

fn parse_commit(bytes: &[u8]) -> Option<CommitInfo> {
    let cut = bytes.windows(2).position(|w| w == b"\n\n")?;
    let mut info = CommitInfo {
        tree: ObjectId::from_hex(
            std::str::from_utf8(bytes.strip_prefix(b"tree ")?.split(|b| *b == b'\n').next()?).ok()?,
        )?,
        parent: None,
        author: String::new(),
        message: bytes[cut + 2..].to_vec(),
    };
    for line in bytes[..cut].split(|b| *b == b'\n') {
        if let (Some(id), None) = (line.strip_prefix(b"parent "), info.parent) {
            info.parent = ObjectId::from_hex(std::str::from_utf8(id).ok()?);
        } else if let Some(author) = line.strip_prefix(b"author ") {
            info.author = String::from_utf8_lossy(author).into_owned();
        }
    }
    Some(info)
}
