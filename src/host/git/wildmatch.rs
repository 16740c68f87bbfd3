//! Shell patterns as git's ignore rules mean them: git's own `wildmatch.c`, retold.
//!
//! Invariant: answers as git does, oddities included (a `**` counts as a whole component also where
//! the literal text before it was cut off). Text that a star has given up on is not tried again, which
//! bounds the work.

/// How a match went; the last two end the stars that wait for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Match,
    No,
    /// The text is used up: no star can help.
    Exhausted,
    /// A star that stops at `/` cannot help.
    NeedsStarStar,
}

/// How to match.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// `*`, `?` and sets do not match `/`.
    pub(super) path: bool,
    /// Case of ASCII letters does not count (`core.ignoreCase`).
    pub(super) fold: bool,
}

pub(super) fn matches(pattern: &[u8], text: &[u8], manner: Manner) -> bool {
    wild(pattern, text, manner) == Outcome::Match
}

fn wild(pattern: &[u8], text: &[u8], manner: Manner) -> Outcome {
    let fold = |b: u8| if manner.fold { b.to_ascii_lowercase() } else { b };
    let (mut p, mut t) = (0, 0);
    while p < pattern.len() {
        let sign = pattern[p];
        let Some(char) = text.get(t).copied().map(fold) else {
            // Nothing but stars matches nothing.
            return if sign == b'*' { star(pattern, p, &text[t..], manner) } else { Outcome::Exhausted };
        };
        match sign {
            b'?' if manner.path && char == b'/' => return Outcome::No,
            b'?' => {}
            b'*' => {
                // `*/` takes the rest of this component and goes on behind the slash.
                let single = manner.path && pattern.get(p + 1) == Some(&b'/');
                if !single {
                    return star(pattern, p, &text[t..], manner);
                }
                match text[t..].iter().position(|b| *b == b'/') {
                    Some(slash) => (p, t) = (p + 1, t + slash),
                    None => return Outcome::Exhausted,
                }
            }
            b'[' => match set(pattern, p, char, manner) {
                Some((_, true)) if manner.path && char == b'/' => return Outcome::No,
                Some((end, true)) => p = end,
                Some((_, false)) => return Outcome::No,
                None => return Outcome::Exhausted,
            },
            b'\\' => {
                p += 1;
                if pattern.get(p).copied().map(fold) != Some(char) {
                    return Outcome::No;
                }
            }
            plain if fold(plain) != char => return Outcome::No,
            _ => {}
        }
        p += 1;
        t += 1;
    }
    if t < text.len() { Outcome::No } else { Outcome::Match }
}

/// The stars at `p` against the whole rest of the text.
fn star(pattern: &[u8], p: usize, text: &[u8], manner: Manner) -> Outcome {
    let rest = pattern[p..].iter().position(|b| *b != b'*').map_or(pattern.len(), |n| p + n);
    let stars = rest - p;
    let tail = &pattern[rest..];
    let mut any = !manner.path;
    if manner.path && stars > 1 {
        let opens = p == 0 || pattern[p - 1] == b'/';
        let closes = tail.is_empty() || tail[0] == b'/' || tail.starts_with(b"\\/");
        any = opens && closes;
        if any && tail.first() == Some(&b'/') && wild(&tail[1..], text, manner) == Outcome::Match {
            return Outcome::Match;
        }
    }
    if tail.is_empty() {
        return if any || !text.contains(&b'/') { Outcome::Match } else { Outcome::NeedsStarStar };
    }
    if !any && tail[0] == b'/' {
        return match text.iter().position(|b| *b == b'/') {
            Some(slash) => wild(tail, &text[slash..], manner),
            None => Outcome::Exhausted,
        };
    }
    for at in 0..text.len() {
        match wild(tail, &text[at..], manner) {
            Outcome::No if !any && text[at] == b'/' => return Outcome::NeedsStarStar,
            Outcome::No => {}
            Outcome::NeedsStarStar if any => {}
            ended => return ended,
        }
    }
    Outcome::Exhausted
}

/// The set that begins at `p`: where its `]` is, and whether it has `char`; `None`: it has no end.
fn set(pattern: &[u8], p: usize, char: u8, manner: Manner) -> Option<(usize, bool)> {
    let get = |i: usize| pattern.get(i).copied();
    let mut p = p + 1;
    let negated = matches!(get(p)?, b'!' | b'^');
    p += usize::from(negated);
    let mut previous = None;
    let mut has = false;
    loop {
        let sign = get(p)?;
        let mut here = Some(sign);
        if sign == b'\\' {
            p += 1;
            here = Some(get(p)?);
            has |= here == Some(char);
        } else if let (b'-', Some(low), Some(next)) = (sign, previous, get(p + 1).filter(|n| *n != b']')) {
            p += 1;
            let high = if next == b'\\' {
                p += 1;
                get(p)?
            } else {
                next
            };
            let within = |c: u8| (low..=high).contains(&c);
            has |= within(char) || (manner.fold && within(char.to_ascii_uppercase()));
            here = None;
        } else if sign == b'[' && get(p + 1) == Some(b':') {
            let name_at = p + 2;
            let end = name_at + pattern.get(name_at..)?.iter().position(|b| *b == b']')?;
            if end > name_at && pattern[end - 1] == b':' {
                has |= class(&pattern[name_at..end - 1], char, manner)?;
                p = end;
                here = None;
            } else {
                has |= char == b'[';
            }
        } else {
            has |= sign == char || (manner.fold && sign.to_ascii_lowercase() == char);
        }
        previous = here;
        p += 1;
        if get(p)? == b']' {
            return Some((p, has != negated));
        }
    }
}

/// `None`: no such class.
fn class(name: &[u8], char: u8, manner: Manner) -> Option<bool> {
    Some(match name {
        b"alnum" => char.is_ascii_alphanumeric(),
        b"alpha" => char.is_ascii_alphabetic(),
        b"blank" => matches!(char, b' ' | b'\t'),
        b"cntrl" => char.is_ascii_control(),
        b"digit" => char.is_ascii_digit(),
        b"graph" => char.is_ascii_graphic(),
        b"lower" => char.is_ascii_lowercase(),
        b"print" => char.is_ascii_graphic() || char == b' ',
        b"punct" => char.is_ascii_punctuation(),
        b"space" => char.is_ascii_whitespace() || char == 0x0b,
        b"upper" => char.is_ascii_uppercase() || (manner.fold && char.is_ascii_lowercase()),
        b"xdigit" => char.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, text: &str, path: bool, expected: bool) {
        let got = matches(pattern.as_bytes(), text.as_bytes(), Manner { path, fold: false });
        assert_eq!(got, expected, "{pattern} on {text}, path: {path}");
    }

    /// From git's `t3070-wildmatch.sh`, with and without `WM_PATHNAME`.
    #[test]
    fn patterns_match_as_git_says() {
        for (pattern, text, path, plain) in [
            ("foo", "foo", true, true),
            ("", "", true, true),
            ("???", "foo", true, true),
            ("*f", "foo", false, false),
            ("*ob*a*r*", "foobar", true, true),
            ("*ab", "aaaaaaabababab", true, true),
            ("foo\\*", "foo*", true, true),
            ("f\\\\oo", "f\\oo", true, true),
            ("*[al]?", "ball", true, true),
            ("[!a-c]*", "[ten]", true, true),
            ("t[a-g]n", "ten", true, true),
            ("t[!a-g]n", "ten", false, false),
            ("a[]]b", "a]b", true, true),
            ("a[]-]b", "a-b", true, true),
            ("a[]a-]b", "aab", true, true),
            ("foo*bar", "foo/baz/bar", false, true),
            ("foo**bar", "foo/baz/bar", false, true),
            ("foo**bar", "foobazbar", true, true),
            ("foo/**/bar", "foo/baz/bar", true, true),
            ("foo/**/**/bar", "foo/b/a/z/bar", true, true),
            ("foo/**/bar", "foo/bar", true, false),
            ("foo/*/bar", "foo/bar", false, false),
            ("foo[/]bar", "foo/bar", false, true),
            ("foo?bar", "foo/bar", false, true),
            ("**/foo", "XXX/foo", true, true),
            ("**/foo", "bar/baz/foo", true, true),
            ("**/foo", "foo", true, false),
            ("*/foo", "bar/baz/foo", false, true),
            ("**/bar*", "foo/bar/baz", false, true),
            ("**/bar/**", "deep/foo/bar/baz/", true, true),
            ("**/bar**", "foo/bar/baz", false, true),
            ("*/bar/**", "foo/bar/baz/x", true, true),
            ("[[:alpha:]][[:digit:]][[:upper:]]", "a1B", true, true),
            ("[[:digit:][:upper:][:space:]]", "a", false, false),
            ("[[:digit:][:upper:][:spaci:]]", "1", false, false),
            ("[[:xdigit:]]", "5", true, true),
            ("[a-c[:digit:]x-z]", "5", true, true),
            ("[a-c[:digit:]x-z]", "q", false, false),
            ("[\\-^]", "]", false, false),
            ("[\\]]", "]", true, true),
            ("a[]b", "ab", false, false),
            ("[!", "ab", false, false),
            ("[-", "ab", false, false),
            ("[--A]", "-", true, true),
            ("[,-.]", "-", true, true),
            ("-*-*-*-*-*-*-12-*-*-*-m-*-*-*", "-adobe-courier-bold-o-normal--12-120-75-75-m-70-iso8859-1", true, true),
            ("**/*a*b*g*n*t", "abcd/abcdefg/abcdefghijk/abcdefghijklmnop.txt", true, true),
            ("*/*/*", "foo/bba/arr", true, true),
            ("*/*/*", "foo", false, false),
            ("**/**/**", "foo/bb/aa/rr", true, true),
            ("*X*i", "abcXdefXghi", true, true),
            ("*/*X*/*/*i", "ab/cXd/efXg/hi", true, true),
        ] {
            check(pattern, text, true, path);
            check(pattern, text, false, plain);
        }
        assert!(matches(b"[A-C]x*.TXT", b"bXy.txt", Manner { path: true, fold: true }));
    }
}
