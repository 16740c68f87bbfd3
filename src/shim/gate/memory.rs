//! Reading the memory of a process that waits.
//!
//! Invariant: one read is bounded, and never asks for a page beyond the one in which a text ends: what
//! follows it need not be mapped.
//!
//! Source: process_vm_readv(2).

use std::io::IoSliceMut;

use nix::errno::Errno;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

/// The longest path that the kernel takes, with its NUL (`PATH_MAX`).
pub(super) const MAX_PATH: usize = 4096;

/// The smallest page of the machines that the gate knows.
const PAGE: usize = 4096;

/// What is read first of a text: most are shorter.
const FIRST: usize = 256;

/// Why something could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MemoryError {
    /// The kernel will not be able to, either: a null pointer, or a text that is too long for a path.
    Futile,
    /// The process does not let itself be read, or has nothing readable there.
    Closed,
}

/// A process's memory; a face of its own so that tests can pretend.
pub(super) trait Memory {
    /// Fills `buffer` from `address`; returns how much was there.
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<usize, MemoryError>;

    /// The text at `address`, without its NUL.
    fn text(&self, address: u64) -> Result<Vec<u8>, MemoryError> {
        if address == 0 {
            return Err(MemoryError::Futile);
        }
        let mut first = [0; FIRST];
        let read = self.read(address, &mut first)?;
        if let Some(end) = first[..read].iter().position(|byte| *byte == 0) {
            return Ok(first[..end].to_vec());
        }
        let mut whole = vec![0; MAX_PATH];
        let read = self.read(address, &mut whole)?;
        whole.truncate(read);
        match whole.iter().position(|byte| *byte == 0) {
            Some(end) => {
                whole.truncate(end);
                Ok(whole)
            }
            None if read == MAX_PATH => Err(MemoryError::Futile),
            None => Err(MemoryError::Closed),
        }
    }

    /// Exactly these bytes.
    fn exact<const N: usize>(&self, address: u64) -> Result<[u8; N], MemoryError> {
        if address == 0 {
            return Err(MemoryError::Futile);
        }
        let mut bytes = [0; N];
        let read = self.read(address, &mut bytes)?;
        if read == N { Ok(bytes) } else { Err(MemoryError::Closed) }
    }
}

/// The memory of a thread's process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Process(pub(super) u32);

impl Memory for Process {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Result<usize, MemoryError> {
        let base = usize::try_from(address).map_err(|_| MemoryError::Closed)?;
        // The kernel transfers whole pieces: each ends where its page does, so that what can be read is.
        let first = buffer.len().min(PAGE - base % PAGE);
        let pieces = [
            RemoteIoVec { base, len: first },
            RemoteIoVec { base: base.wrapping_add(first), len: buffer.len() - first },
        ];
        let pieces = if pieces[1].len == 0 { &pieces[..1] } else { &pieces[..] };
        let pid = Pid::from_raw(self.0.cast_signed());
        match process_vm_readv(pid, &mut [IoSliceMut::new(buffer)], pieces) {
            Ok(read) => Ok(read),
            Err(Errno::ESRCH) => Err(MemoryError::Futile),
            Err(_) => Err(MemoryError::Closed),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Memory as a test wants it: texts and structures at addresses that it is told.
    #[derive(Debug, Default)]
    pub(in crate::shim::gate) struct Pretended(RefCell<Vec<Vec<u8>>>);

    const STRIDE: u64 = 1 << 20;

    impl Pretended {
        pub(in crate::shim::gate) fn put(&self, bytes: &[u8]) -> u64 {
            self.0.borrow_mut().push(bytes.to_vec());
            self.0.borrow().len() as u64 * STRIDE
        }

        pub(in crate::shim::gate) fn put_text(&self, text: &str) -> u64 {
            self.put(&[text.as_bytes(), &[0]].concat())
        }
    }

    impl Memory for Pretended {
        fn read(&self, address: u64, buffer: &mut [u8]) -> Result<usize, MemoryError> {
            let number = usize::try_from(address / STRIDE).unwrap();
            let all = self.0.borrow();
            let bytes = number.checked_sub(1).and_then(|at| all.get(at)).ok_or(MemoryError::Closed)?;
            let length = bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&bytes[..length]);
            Ok(length)
        }
    }

    #[test]
    fn texts_are_read_to_their_end_and_no_further() {
        let own = Process(std::process::id());
        let text = |bytes: &[u8]| own.text(bytes.as_ptr().addr() as u64);
        assert_eq!(text(b"a/b\0c"), Ok(b"a/b".to_vec()));
        assert_eq!(text(b"\0"), Ok(vec![]));
        for length in [255, 256, 257, 4000, 4095] {
            let mut long = vec![b'x'; length];
            long.push(0);
            assert_eq!(text(&long).map(|text| text.len()), Ok(length));
        }
        let endless = vec![b'x'; 2 * MAX_PATH];
        assert_eq!(text(&endless), Err(MemoryError::Futile));
        assert_eq!(own.text(0), Err(MemoryError::Futile));
        assert_eq!(own.text(8), Err(MemoryError::Closed));
        assert_eq!(own.exact::<4>(b"abcdef".as_ptr().addr() as u64), Ok(*b"abcd"));
    }

    /// The text ends with the last byte that is mapped.
    #[test]
    fn a_text_at_the_end_of_what_is_mapped_is_read() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let stack = maps.lines().find(|line| line.ends_with("[stack]")).unwrap();
        let end = u64::from_str_radix(stack.split(['-', ' ']).nth(1).unwrap(), 16).unwrap();
        // The kernel puts the program's name there, and eight bytes of zeros after it.
        let text = Process(std::process::id()).text(end - 40).unwrap();
        assert!(text.len() < 40);
    }
}
