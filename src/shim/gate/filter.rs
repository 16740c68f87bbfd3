//! The seccomp filter: which calls the shim hears of, as a program of classic BPF.
//!
//! Invariant: every way through the program ends in one of its returns, and a call that could change
//! something reaches the shim or fails. The kernel sees that the program lets all other calls pass
//! whatever their arguments, and does not even run it for those (Linux 5.11 and later).
//! Deliberately absent: putting it in force (`sys`).
//!
//! Sources: seccomp(2), the kernel's `userspace-api/seccomp_filter` and `networking/filter`.

use super::table::{IOCTLS, LAST_KNOWN, Machine, TABLE, Treatment, WRITING};

/// One instruction; the layout of `sock_filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Instruction {
    pub code: u16,
    pub yes: u8,
    pub no: u8,
    pub value: u32,
}

/// Load a word of `seccomp_data`; jumps; return.
const LOAD: u16 = 0x20;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// Offsets in `seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

const ALLOW: u32 = 0x7FFF_0000;
const NOTIFY: u32 = 0x7FC0_0000;
const FAIL: u32 = 0x0005_0000;
/// A program of another architecture could not even end by itself if its calls failed.
const KILL: u32 = 0x8000_0000;

const ENOSYS: u32 = 38;
const EACCES: u32 = 13;

/// The low half of an argument; both machines are little-endian.
fn argument(index: u8) -> u32 {
    16 + 8 * u32::from(index)
}

/// Where a jump goes: one of the tails that follow the list of calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Allow,
    Notify,
    Missing,
    Check(Treatment),
}

/// The program for a machine.
#[must_use]
pub(super) fn program(machine: Machine) -> Vec<Instruction> {
    let entries: Vec<(u32, Tail)> = TABLE
        .iter()
        .filter_map(|entry| {
            let tail = match entry.treatment {
                Treatment::Notify => Tail::Notify,
                Treatment::Missing => Tail::Missing,
                check => Tail::Check(check),
            };
            Some((machine.number(entry)?, tail))
        })
        .collect();
    let (tails, starts) = tails(&entries);

    let mut program = vec![
        load(ARCH),
        jump(IF_EQUAL, machine.audit_arch(), 1, 0),
        give(KILL),
        load(NUMBER),
        // Calls of the x32 kind have bit 30 set, so they are among those that are too new.
        jump(IF_GREATER, LAST_KNOWN, 0, 1),
        give(FAIL | ENOSYS),
    ];
    for (at, (number, tail)) in entries.iter().enumerate() {
        let after = entries.len() - at - 1;
        program.push(jump(IF_EQUAL, *number, distance(after + start(&starts, *tail)), 0));
    }
    program.extend(tails);
    program
}

/// The tails, and where each begins. The first is where a call goes that no entry names.
fn tails(entries: &[(u32, Tail)]) -> (Vec<Instruction>, Vec<(Tail, usize)>) {
    let mut code = vec![give(ALLOW), give(NOTIFY), give(FAIL | ENOSYS)];
    let mut starts = vec![(Tail::Allow, 0), (Tail::Notify, 1), (Tail::Missing, 2)];
    for (_, tail) in entries {
        let Tail::Check(treatment) = *tail else { continue };
        if starts.iter().any(|(known, _)| known == tail) {
            continue;
        }
        starts.push((*tail, code.len()));
        match treatment {
            Treatment::NotifyIfWriting { argument: index } => {
                code.extend([load(argument(index)), jump(IF_ANY_BIT, WRITING, 0, 1), give(NOTIFY), give(ALLOW)]);
            }
            Treatment::RefuseIfWriting { argument: index } => {
                code.extend([load(argument(index)), jump(IF_ANY_BIT, WRITING, 0, 1), give(FAIL | EACCES), give(ALLOW)]);
            }
            Treatment::NotifyIfChanging { argument: index } => {
                code.push(load(argument(index)));
                for (at, request) in IOCTLS.iter().enumerate() {
                    code.push(jump(IF_EQUAL, *request, distance(IOCTLS.len() - at), 0));
                }
                code.extend([give(ALLOW), give(NOTIFY)]);
            }
            Treatment::Notify | Treatment::Missing => {}
        }
    }
    (code, starts)
}

fn start(starts: &[(Tail, usize)], tail: Tail) -> usize {
    starts.iter().find(|(known, _)| *known == tail).map_or(0, |(_, at)| *at)
}

#[expect(clippy::expect_used, reason = "the program is far shorter than a jump can reach; a test builds it")]
fn distance(instructions: usize) -> u8 {
    u8::try_from(instructions).expect("a filter of fewer than 256 instructions")
}

fn load(offset: u32) -> Instruction {
    Instruction { code: LOAD, yes: 0, no: 0, value: offset }
}

fn jump(code: u16, value: u32, yes: u8, no: u8) -> Instruction {
    Instruction { code, yes, no, value }
}

fn give(value: u32) -> Instruction {
    Instruction { code: RETURN, yes: 0, no: 0, value }
}

#[cfg(test)]
mod tests {
    use std::mem::{align_of, offset_of, size_of};

    use super::*;
    use crate::shim::gate::table::Call;
    use nix::libc;

    /// `sys` hands instructions to the kernel as these.
    #[test]
    fn an_instruction_has_the_layout_of_sock_filter() {
        assert_eq!(size_of::<Instruction>(), size_of::<libc::sock_filter>());
        assert_eq!(align_of::<Instruction>(), align_of::<libc::sock_filter>());
        let ours = [
            offset_of!(Instruction, code),
            offset_of!(Instruction, yes),
            offset_of!(Instruction, no),
            offset_of!(Instruction, value),
        ];
        let theirs = [
            offset_of!(libc::sock_filter, code),
            offset_of!(libc::sock_filter, jt),
            offset_of!(libc::sock_filter, jf),
            offset_of!(libc::sock_filter, k),
        ];
        assert_eq!(ours, theirs);
    }

    /// What a filter returns for a call; as the kernel runs it.
    fn run(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        data.extend(arguments.iter().flat_map(|argument| argument.to_le_bytes()));
        let (mut accumulator, mut at) = (0, 0);
        loop {
            let Instruction { code, yes, no, value } = program[at];
            let test = match code {
                LOAD => {
                    let from = value as usize;
                    accumulator = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                    at += 1;
                    continue;
                }
                RETURN => return value,
                IF_EQUAL => accumulator == value,
                IF_GREATER => accumulator > value,
                IF_ANY_BIT => accumulator & value != 0,
                other => panic!("{other:#x}"),
            };
            at += 1 + usize::from(if test { yes } else { no });
        }
    }

    const NO: [u64; 6] = [0; 6];

    fn check(machine: Machine, number: u32, arguments: [u64; 6], expected: u32) {
        let got = run(&program(machine), machine.audit_arch(), number, arguments);
        assert_eq!(got, expected, "{machine:?} {number} {arguments:x?}: {got:#x}");
    }

    fn number(machine: Machine, call: Call) -> u32 {
        TABLE.iter().find(|entry| entry.call == call).and_then(|entry| machine.number(entry)).unwrap()
    }

    #[test]
    fn every_call_is_treated_as_its_entry_says() {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            for entry in &TABLE {
                let Some(number) = machine.number(entry) else { continue };
                match entry.treatment {
                    Treatment::Notify => check(machine, number, NO, NOTIFY),
                    Treatment::Missing => check(machine, number, NO, FAIL | ENOSYS),
                    Treatment::NotifyIfWriting { .. }
                    | Treatment::RefuseIfWriting { .. }
                    | Treatment::NotifyIfChanging { .. } => check(machine, number, NO, ALLOW),
                }
            }
            // read, write, close, mmap, futex, clone and what else is called all the time.
            let (common, strangers): (&[u32], &[u32]) = match machine {
                Machine::X86_64 => (&[0, 1, 3, 9, 35, 56, 57, 59, 202, 262, 332], &[1000, 470, 512, 547]),
                Machine::Aarch64 => (&[57, 62, 63, 64, 79, 98, 220, 221, 222, 291], &[1000, 470]),
            };
            for number in common {
                check(machine, *number, [u64::MAX; 6], ALLOW);
            }
            for number in strangers {
                check(machine, *number, NO, FAIL | ENOSYS);
            }
        }
    }

    #[test]
    fn opens_are_judged_by_their_flags() {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let openat = number(machine, Call::Openat);
            let handle = number(machine, Call::OpenByHandleAt);
            // O_RDONLY with O_CLOEXEC, O_NONBLOCK, O_APPEND, O_PATH, O_EXCL, O_NOATIME; a mode.
            for quiet in [0o2_000_000, 0o4000, 0o2000, 0o10_000_000, 0o200, 0o1_000_000] {
                check(machine, openat, [0, 0, quiet, 0o777, 0, 0], ALLOW);
                check(machine, handle, [0, 0, quiet, 0, 0, 0], ALLOW);
            }
            for writing in [0o1, 0o2, 0o3, 0o100, 0o1000, 0o20_000_000 | 0o2, 0o2_000_001] {
                check(machine, openat, [0, 0, writing, 0, 0, 0], NOTIFY);
                check(machine, openat, [0, 0, writing | 1 << 40, 0, 0, 0], NOTIFY);
                check(machine, handle, [0, 0, writing, 0, 0, 0], FAIL | EACCES);
            }
            // The upper half is not looked at by the kernel either.
            check(machine, openat, [u64::MAX, u64::MAX, 1 << 32, 0, 0, 0], ALLOW);
        }
        let open = number(Machine::X86_64, Call::Open);
        check(Machine::X86_64, open, [0, 0, 0o1, 0, 0, 0], ALLOW);
        check(Machine::X86_64, open, [0, 0o1, 0, 0, 0, 0], NOTIFY);
    }

    #[test]
    fn only_changing_requests_of_ioctl_are_heard_of() {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            let ioctl = number(machine, Call::Ioctl);
            for request in IOCTLS {
                check(machine, ioctl, [3, u64::from(request), 0, 0, 0, 0], NOTIFY);
            }
            // TCGETS, FIONREAD, FS_IOC_GETFLAGS.
            for request in [0x5401, 0x541B, 0x8008_6601] {
                check(machine, ioctl, [3, request, 0, 0, 0, 0], ALLOW);
            }
        }
    }

    #[test]
    fn other_architectures_and_kinds_of_calls_are_refused() {
        const I386: u32 = 0x4000_0003;
        const ARM: u32 = 0x4000_0028;
        let x86_64 = program(Machine::X86_64);
        for arch in [I386, ARM, Machine::Aarch64.audit_arch(), 0] {
            assert_eq!(run(&x86_64, arch, 0, NO), KILL);
        }
        assert_eq!(run(&program(Machine::Aarch64), Machine::X86_64.audit_arch(), 0, NO), KILL);
        for x32 in [0x4000_0000, 0x4000_0002, 0x4000_0101] {
            check(Machine::X86_64, x32, NO, FAIL | ENOSYS);
        }
        check(Machine::X86_64, u32::MAX, NO, FAIL | ENOSYS);
    }

    #[test]
    fn it_fits() {
        for machine in [Machine::X86_64, Machine::Aarch64] {
            assert!(program(machine).len() < 128);
        }
    }
}
