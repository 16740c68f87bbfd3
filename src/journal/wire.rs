//! How the core's smallest values are written as JSON: ids, paths, times, lists.
//!
//! Invariant: what is written is read back as the same value. Durations are whole milliseconds,
//! object ids and modes are text as git prints them, a path is its text where it is UTF-8 and
//! `{"bytes":"hex"}` where it is not.
//!
//! Deliberately absent: the facts made of them, which are in `forms`.

use std::fmt::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::core::change::{Mode, ObjectId};
use crate::core::conflict::ConflictId;
use crate::core::ids::{AgentId, Attempt, RunId, RunnerName, Slot};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::steer::Stop;

/// A type of the core that has a form in the journal. (The core itself knows no serde.)
pub(super) trait Wire: Sized {
    fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error>;
    fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error>;
}

/// For `#[serde(with = "via")]`.
pub(super) mod via {
    use super::{Deserializer, Serializer, Wire};

    pub(in crate::journal) fn serialize<T: Wire, S: Serializer>(value: &T, out: S) -> Result<S::Ok, S::Error> {
        value.to_wire(out)
    }

    pub(in crate::journal) fn deserialize<'de, T: Wire, D: Deserializer<'de>>(input: D) -> Result<T, D::Error> {
        T::from_wire(input)
    }
}

/// For a count that is left out where there is nothing to count.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
pub(super) fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A borrowed core value as serde sees it.
pub(super) struct Out<'a, T>(pub(super) &'a T);

impl<T: Wire> Serialize for Out<'_, T> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        self.0.to_wire(out)
    }
}

/// A core value as serde builds it.
pub(super) struct In<T>(pub(super) T);

impl<'de, T: Wire> Deserialize<'de> for In<T> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        T::from_wire(input).map(In)
    }
}

impl<T: Wire> Wire for Option<T> {
    fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Some(value) => out.serialize_some(&Out(value)),
            None => out.serialize_none(),
        }
    }

    fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        Ok(Option::<In<T>>::deserialize(input)?.map(|v| v.0))
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(self.iter().map(Out))
    }

    fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Items<T>(std::marker::PhantomData<T>);
        impl<'de, T: Wire> Visitor<'de> for Items<T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(In(item)) = seq.next_element()? {
                    items.push(item);
                }
                Ok(items)
            }
        }
        input.deserialize_seq(Items(std::marker::PhantomData))
    }
}

/// Gives a core type the form of its mirror.
macro_rules! mirrored {
    ($($core:ty => $mirror:ident),+ $(,)?) => {$(
        impl Wire for $core {
            fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                $mirror::serialize(self, out)
            }
            fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                $mirror::deserialize(input)
            }
        }
    )+};
}

pub(super) use mirrored;

/// Types that are one number.
macro_rules! number {
    ($($core:ident($n:ty)),+) => {$(
        impl Wire for $core {
            fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                self.0.serialize(out)
            }
            fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                <$n>::deserialize(input).map($core)
            }
        }
    )+};
}

number!(Moment(u64), Attempt(u32), Slot(u32), ConflictId(u32));

impl Wire for Duration {
    fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(u64::try_from(self.as_millis()).unwrap_or(u64::MAX))
    }
    fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        u64::deserialize(input).map(Self::from_millis)
    }
}

/// Reads a text without copying it, where the input lets it, and makes a value of it.
struct Text<F>(&'static str, F);

impl<T, F: FnOnce(&str) -> Option<T>> Visitor<'_> for Text<F> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let what = self.0;
        (self.1)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &what))
    }
}

/// Types that are one text.
macro_rules! text {
    ($($core:ty: $what:literal, $write:expr, $read:expr;)+) => {$(
        impl Wire for $core {
            fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                $write(self, out)
            }
            fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
                input.deserialize_str(Text($what, $read))
            }
        }
    )+};
}

text! {
    AgentId: "an agent's id", |v: &AgentId, out: S| out.serialize_str(v.as_str()), |t: &str| AgentId::new(t).ok();
    RunId: "a run's id", |v: &RunId, out: S| out.serialize_str(v.as_str()), RunId::new;
    RunnerName: "a runner's name", |v: &RunnerName, out: S| out.serialize_str(v.as_str()),
        |t: &str| Some(RunnerName::new(t));
    ObjectId: "an object id of git", |v: &ObjectId, out: S| out.collect_str(v), ObjectId::from_hex;
    Mode: "a mode of git", |v: &Mode, out: S| out.collect_str(&format_args!("{:o}", v.bits())),
        |t: &str| u32::from_str_radix(t, 8).ok().and_then(Mode::from_bits);
    Timestamp: "a time of RFC 3339", |v: &Timestamp, out: S| out.collect_str(&format_args!("{v:.3}")),
        |t: &str| t.parse().ok();
    Stop: "a way to stop", |v: &Stop, out: S| out.serialize_str(v.as_str()),
        |t: &str| Stop::ALL.into_iter().find(|s| s.as_str() == t);
    State: "a state", |v: &State, out: S| out.serialize_str(v.as_str()),
        |t: &str| State::ALL.into_iter().find(|s| s.as_str() == t);
}

impl Wire for RepoPath {
    fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(self.as_bytes()) {
            return out.serialize_str(text);
        }
        let hex = self.as_bytes().iter().fold(String::new(), |mut hex, b| {
            // Writing into memory does not fail.
            let _ = write!(hex, "{b:02x}");
            hex
        });
        let mut map = out.serialize_map(Some(1))?;
        map.serialize_entry("bytes", &hex)?;
        map.end()
    }

    fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Path;
        impl<'de> Visitor<'de> for Path {
            type Value = RepoPath;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path of the workspace")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<RepoPath, E> {
                RepoPath::new(text.as_bytes()).map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RepoPath, A::Error> {
                let mut path = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "bytes" {
                        let hex = map.next_value::<String>()?;
                        let bytes = from_hex(&hex).ok_or_else(|| de::Error::custom("odd or wrong hex digits"))?;
                        path = Some(RepoPath::new(&bytes).map_err(de::Error::custom)?);
                    } else {
                        map.next_value::<de::IgnoredAny>()?;
                    }
                }
                path.ok_or_else(|| de::Error::missing_field("bytes"))
            }
        }
        input.deserialize_any(Path)
    }
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(hex.get(i..i + 2)?, 16).ok()).collect()
}
