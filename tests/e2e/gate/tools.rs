//! What people's tools do to files must simply work on what an agent claimed.

use std::io::Write as _;
use std::path::Path;

use super::{agent, assert_certain, assert_state, names, run};
use crate::support::{Ended, TestRepo};

/// One agent that works in a directory of its own, named like it.
struct Case {
    id: &'static str,
    /// Beneath its directory: paths and what is in them before.
    before: &'static [(&'static str, &'static str)],
    /// Its claim; `@` stands for its directory.
    files: &'static [&'static str],
    /// Runs in its directory.
    script: &'static str,
    /// The files of its commit, and what is in them afterwards (`None`: removed).
    after: &'static [(&'static str, Option<&'static str>)],
}

/// Runs all cases in one session, several at a time, and looks at every one before it complains.
fn check(repo: &TestRepo, cases: &[Case]) {
    let agents: Vec<String> = cases
        .iter()
        .map(|case| {
            let files: Vec<String> = case.files.iter().map(|file| file.replace('@', case.id)).collect();
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            agent(case.id, &files, &format!("set -e\ncd {}\n{}", case.id, case.script), "")
        })
        .collect();
    let ended = run(repo, "", &agents);
    let complaints: Vec<String> = cases.iter().filter_map(|case| complaint(repo, &ended, case)).collect();
    assert!(complaints.is_empty(), "{}\n{}", complaints.join("\n"), ended.stderr);
    assert_eq!(ended.json()["unattributed"], names(&[]), "{}", ended.stderr);
    assert_eq!(repo.status(), "");
    for case in cases {
        assert_certain(repo, case.id);
    }
}

fn complaint(repo: &TestRepo, ended: &Ended, case: &Case) -> Option<String> {
    let agent = ended.agent(case.id);
    let log = super::log(repo, case.id, 1);
    // `git diff` may want to refresh the index; it does without.
    let kinds = agent["denials"].as_array().unwrap().iter().map(|denial| &denial["kind"]);
    let refused = kinds.filter(|kind| case.id != "looking" || *kind != "git").count();
    if agent["state"] != "COMPLETED" || refused > 0 {
        return Some(format!("{agent:#}\n{log}"));
    }
    let files = repo.files_of(&format!("feat({0}): {0}", case.id));
    let expected: Vec<String> = case.after.iter().map(|(path, _)| format!("{}/{path}", case.id)).collect();
    if files != expected {
        return Some(format!("{}: committed {files:?} instead of {expected:?}\n{log}", case.id));
    }
    case.after.iter().find_map(|(path, content)| {
        let path = format!("{}/{path}", case.id);
        let found = repo.exists(&path).then(|| repo.read(&path));
        (found.as_deref() != *content).then(|| format!("{path} holds {found:?} instead of {content:?}"))
    })
}

fn repos_of(cases: &[Case]) -> Vec<TestRepo> {
    let mut files = vec![(".gitignore".to_owned(), "__pycache__/\n")];
    for case in cases {
        files.push((format!("{}/keep", case.id), ""));
        files.extend(case.before.iter().map(|(path, text)| (format!("{}/{path}", case.id), *text)));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    TestRepo::for_each_user(&files)
}

/// Claims name single files here: what the tools make beside them is provisional.
const EDITING: &[Case] = &[
    Case {
        id: "sed",
        before: &[("a.txt", "one\n")],
        files: &["@/a.txt"],
        script: "sed -i s/one/two/ a.txt; sed -i.orig s/two/three/ a.txt; rm a.txt.orig",
        after: &[("a.txt", Some("three\n"))],
    },
    Case {
        id: "moved",
        before: &[("a.txt", "one\n")],
        files: &["@/a.txt", "@/b.txt"],
        script: "mv a.txt b.txt",
        after: &[("a.txt", None), ("b.txt", Some("one\n"))],
    },
    Case {
        id: "directories",
        before: &[("old/x/1", "1\n"), ("old/2", "2\n")],
        files: &["@/old/", "@/new/"],
        script: "mkdir -p old/y/z; echo 3 > old/y/z/3; mv old new; rm -r new/x; rmdir new/y/z 2>/dev/null || true",
        after: &[("new/2", Some("2\n")), ("new/y/z/3", Some("3\n")), ("old/2", None), ("old/x/1", None)],
    },
    Case {
        id: "atomic",
        before: &[("a.txt", "one\n")],
        files: &["@/a.txt"],
        script: "t=$(mktemp .a.txt.XXXXXX); echo two > $t; chmod --reference=a.txt $t; mv -f $t a.txt",
        after: &[("a.txt", Some("two\n"))],
    },
    Case {
        // As vim does with 'nobackup writebackup backupcopy=no': can the directory be written, is the swap file
        // free, the old file aside, the new one, the backup away.
        id: "vimlike",
        before: &[("a.txt", "one\n")],
        files: &["@/a.txt"],
        script: ": > .a.txt.swp; : > .a.txt.swx; rm .a.txt.swx; : > 4913; chmod 644 4913; rm 4913; mv a.txt a.txt~; echo two > a.txt; rm a.txt~ .a.txt.swp",
        after: &[("a.txt", Some("two\n"))],
    },
    Case {
        // As emacs: a lock that is a dangling link, an auto-save, a backup by renaming.
        id: "emacslike",
        before: &[("a.txt", "one\n")],
        files: &["@/a.txt"],
        script: "ln -s me@here.1:2 .#a.txt; echo half > '#a.txt#'; mv a.txt a.txt~; echo two > a.txt; rm '#a.txt#' .#a.txt a.txt~",
        after: &[("a.txt", Some("two\n"))],
    },
    Case {
        // As black: written beside, mode and times kept, renamed over.
        id: "formatter",
        before: &[("a.py", "x=1\n"), ("b.py", "y=1\n")],
        files: &["@/*.py"],
        script: "for f in *.py; do sed s/=/' = '/ $f > $f.tmp; chmod --reference=$f $f.tmp; touch -r $f $f.tmp; mv $f.tmp $f; done",
        after: &[("a.py", Some("x = 1\n")), ("b.py", Some("y = 1\n"))],
    },
    Case {
        id: "heredoc",
        before: &[],
        files: &["@/deep/er/a.txt"],
        script: "mkdir -p deep/er\ncat > deep/er/a.txt <<END\none $((1+1))\nEND\ncat >> deep/er/a.txt <<'END'\n$x\nEND",
        after: &[("deep/er/a.txt", Some("one 2\n$x\n"))],
    },
    Case {
        id: "copies",
        before: &[("a.txt", "one\n")],
        files: &["@/b.txt", "@/tool", "@/link", "@/hard", "@/c.txt"],
        script: "cp -p a.txt b.txt; install -m 755 a.txt tool; ln -s a.txt link; cp -al b.txt hard; dd if=a.txt of=c.txt conv=fsync status=none; truncate -s 2 c.txt; touch -d 2001-01-01 c.txt",
        after: &[
            ("b.txt", Some("one\n")),
            ("c.txt", Some("on")),
            ("hard", Some("one\n")),
            ("link", Some("one\n")),
            ("tool", Some("one\n")),
        ],
    },
    Case {
        id: "archive",
        before: &[("in/d/a", "1\n"), ("in/b", "2\n")],
        files: &["@/out/"],
        script: "cp -a in $TMPDIR/in.$$; ln -s b $TMPDIR/in.$$/l; ln $TMPDIR/in.$$/b $TMPDIR/in.$$/h; mkdir out; tar -C $TMPDIR/in.$$ -cf - . | tar -C out -xpf -",
        after: &[("out/b", Some("2\n")), ("out/d/a", Some("1\n")), ("out/h", Some("2\n")), ("out/l", Some("2\n"))],
    },
    Case {
        id: "patches",
        before: &[("a.txt", "1\n2\n3\n"), ("b.txt", "1\n")],
        files: &["@/a.txt", "@/b.txt", "@/c.txt"],
        script: "printf '%s\\n' 'diff --git a/patches/a.txt b/patches/a.txt' '--- a/patches/a.txt' '+++ b/patches/a.txt' '@@ -1,3 +1,3 @@' ' 1' '-2' '+two' ' 3' 'diff --git a/patches/c.txt b/patches/c.txt' 'new file mode 100644' '--- /dev/null' '+++ b/patches/c.txt' '@@ -0,0 +1 @@' '+new' > $TMPDIR/p; cd ..; git apply $TMPDIR/p; cd patches; printf '%s\\n' '--- b.txt' '+++ b.txt' '@@ -1 +1 @@' '-1' '+one' | patch -s -p0",
        after: &[("a.txt", Some("1\ntwo\n3\n")), ("b.txt", Some("one\n")), ("c.txt", Some("new\n"))],
    },
    Case {
        id: "perl",
        before: &[("a.txt", "one\n"), ("b.txt", "2\n1\n")],
        files: &["@/?.txt"],
        script: "perl -pi -e s/one/two/ a.txt; sort -o b.txt b.txt; tee -a a.txt < b.txt > /dev/null",
        after: &[("a.txt", Some("two\n1\n2\n")), ("b.txt", Some("1\n2\n"))],
    },
    Case {
        id: "removal",
        before: &[("d/1", "1\n"), ("d/e/2", "2\n"), ("f", "f\n")],
        files: &["@/d/", "@/f"],
        script: "rm -rf d f; mkdir d; echo now > f",
        after: &[("d/1", None), ("d/e/2", None), ("f", Some("now\n"))],
    },
    Case {
        id: "looking",
        before: &[("a.txt", "one\n")],
        files: &["@/a.txt"],
        script: "touch a.txt; git status > $TMPDIR/status; git diff >> $TMPDIR/status; git log -1 >> $TMPDIR/status; git stash list; git show HEAD:looking/a.txt > a.txt; git grep -c one >> a.txt",
        after: &[("a.txt", Some("one\na.txt:1\n"))],
    },
];

#[test]
fn editing_tools_work_on_what_was_claimed() {
    for repo in repos_of(EDITING) {
        check(&repo, EDITING);
    }
}

/// Whoever in the tree makes the call, it is the agent's.
const PROCESSES: &[Case] = &[
    Case {
        id: "python",
        before: &[("lib.py", "x = 1\n")],
        files: &["@/out.txt"],
        script: "python3 - <<'END'\nimport lib, os, tempfile\nwith open('out.txt', 'w') as f: f.write(str(lib.x))\nfd, t = tempfile.mkstemp(dir='.')\nos.write(fd, b'two')\nos.close(fd)\nos.replace(t, 'out.txt')\nEND",
        after: &[("out.txt", Some("two"))],
    },
    Case {
        id: "children",
        before: &[],
        files: &["@/*.txt"],
        script: "python3 -c 'import subprocess; subprocess.run([\"sh\", \"-c\", \"echo c > c.txt\"], start_new_session=True, check=True)'\n(setsid sh -c 'sleep 2; echo late > late.txt; : > $F/children.done' >/dev/null 2>&1 &)\nnohup setsid sh -c 'echo n > n.txt; : > $F/children.n' >/dev/null 2>&1 &\nawait children.done; await children.n",
        after: &[("c.txt", Some("c\n")), ("late.txt", Some("late\n")), ("n.txt", Some("n\n"))],
    },
    Case {
        id: "threads",
        before: &[],
        files: &["@/*.txt"],
        script: "python3 - <<'END'\nimport threading\ndef work(n):\n    for k in range(20):\n        with open(f'{n}.txt', 'w') as f: f.write(f'{k}\\n')\nts = [threading.Thread(target=work, args=(n,)) for n in range(4)]\n[t.start() for t in ts]\n[t.join() for t in ts]\nEND",
        after: &[("0.txt", Some("19\n")), ("1.txt", Some("19\n")), ("2.txt", Some("19\n")), ("3.txt", Some("19\n"))],
    },
    Case {
        id: "namespaces",
        before: &[],
        files: &["@/*.txt"],
        script: "if unshare -Ur true 2>/dev/null; then unshare -Ur sh -c 'echo u > u.txt'; unshare -Urmpf --mount-proc sh -c 'mkdir -p $TMPDIR/bound; mount --bind . $TMPDIR/bound; echo b > $TMPDIR/bound/b.txt'; else echo 'NO USER NAMESPACES HERE' >&2; echo u > u.txt; echo b > b.txt; fi",
        after: &[("b.txt", Some("b\n")), ("u.txt", Some("u\n"))],
    },
    Case {
        id: "descriptors",
        before: &[("a.txt", "one\n"), ("b.txt", "b\n")],
        files: &["@/?.txt"],
        script: "python3 - <<'END'\nimport os\nd = os.open('.', os.O_RDONLY)\nfd = os.open('a.txt', os.O_WRONLY | os.O_APPEND, dir_fd=d)\nos.write(os.open(f'/proc/self/fd/{fd}', os.O_WRONLY | os.O_APPEND), b'two\\n')\nt = os.open('.', os.O_TMPFILE | os.O_WRONLY, 0o644)\nos.write(t, b'tmp\\n')\nos.link(f'/proc/self/fd/{t}', 'c.txt', src_dir_fd=d, follow_symlinks=True)\nr = os.open('b.txt', os.O_RDONLY)\nos.fchmod(r, 0o755)\nos.utime(r, (1, 1))\nEND",
        after: &[("a.txt", Some("one\ntwo\n")), ("b.txt", Some("b\n")), ("c.txt", Some("tmp\n"))],
    },
];

#[test]
fn every_process_of_a_tree_is_the_agent() {
    for repo in repos_of(PROCESSES) {
        check(&repo, PROCESSES);
        assert_eq!(repo.git(&["ls-tree", "--format=%(objectmode)", "HEAD", "descriptors/b.txt"]), "100755\n");
    }
}

/// The directory of a program on this machine's PATH.
fn found(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|directory| directory.join(program).is_file())
}

const BUILDS: &[Case] = &[Case {
    id: "cargo",
    before: &[
        ("Cargo.toml", "[package]\nname = \"small\"\nversion = \"0.1.0\"\nedition = \"2021\"\n"),
        ("src/lib.rs", "pub fn one()->u8{1}\n"),
    ],
    files: &["@/src/", "@/Cargo.lock"],
    script: "cargo build -q --offline; echo 'pub fn two()->u8{2} #[test] fn t(){assert_eq!(one()+one(),two())}' >> src/lib.rs; cargo test -q --offline > $F/cargo.test; if cargo fmt --version > /dev/null 2>&1; then cargo fmt; fi; grep -c two src/lib.rs > src/count",
    after: &[],
}];

/// With fixtures, a temporary directory, and an assertion that pytest rewrites.
const PYTEST: Case = Case {
    id: "python",
    before: &[("app.py", "def one(): return 1\n")],
    files: &["@/*.py"],
    script: "printf 'import app\\ndef test(tmp_path):\\n    (tmp_path / \"x\").write_text(\"y\")\\n    assert app.one() == 2\\n' > test_app.py; if pytest -q > $F/before; then exit 94; fi; sed -i 's/1/1 + 1/' app.py; pytest -q --lf > $F/pytest; grep -q '1 passed' $F/pytest",
    after: &[],
};

const UNITTEST: Case = Case {
    script: "printf 'import unittest, app\\nclass T(unittest.TestCase):\\n    def test(self): self.assertEqual(app.one(), 2)\\n' > test_app.py; sed -i s/1/2/ app.py; python3 -m unittest -q",
    ..PYTEST
};

/// pytest where it is there; elsewhere what Python itself has, and a line that says so.
fn python_tests() -> (&'static str, &'static Case) {
    if found("pytest").is_some() {
        return ("pytest", &PYTEST);
    }
    // Past the test harness, which hides the output of tests that pass.
    let _ = std::io::stderr().write_all(b"pytest: NOT RUN, it is not there; unittest instead\n");
    ("unittest", &UNITTEST)
}

const NPM: Case = Case {
    id: "npm",
    before: &[
        ("package.json", "{\"name\": \"web\", \"version\": \"1.0.0\"}\n"),
        ("local/package.json", "{\"name\": \"local\", \"version\": \"1.0.0\"}\n"),
        ("local/index.js", "module.exports = 1\n"),
    ],
    files: &["@/package.json", "@/package-lock.json", "@/out.txt"],
    script: "npm install --offline --no-audit --no-fund --loglevel=error ./local > /dev/null; node -e \"require('fs').writeFileSync('out.txt', String(require('local')))\"",
    after: &[],
};

/// Builds and tests of what an agent claimed; what they make is ignored by git.
#[test]
fn builds_work_and_what_they_make_is_ignored() {
    let (runner, python) = python_tests();
    let mut cases: Vec<&Case> = BUILDS.iter().chain([python]).collect();
    if found("npm").is_some() {
        cases.push(&NPM);
    }
    let toolchain = Path::new(env!("CARGO")).parent().unwrap();
    let mut files =
        vec![(".gitignore".to_owned(), "__pycache__/\n.pytest_cache/\n/cargo/target/\n/npm/node_modules/\n")];
    for case in &cases {
        files.extend(case.before.iter().map(|(path, text)| (format!("{}/{path}", case.id), *text)));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let repo = TestRepo::with(&files);
    let agents: Vec<String> = cases
        .iter()
        .map(|case| {
            let files: Vec<String> = case.files.iter().map(|file| file.replace('@', case.id)).collect();
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            let script = format!("set -e\nPATH={}:$PATH\ncd {}\n{}", toolchain.display(), case.id, case.script);
            agent(case.id, &files, &script, "")
        })
        .collect();
    let ended = run(&repo, "", &agents);
    for case in &cases {
        assert_state(&ended, case.id, "COMPLETED", None);
        assert_eq!(ended.agent(case.id)["denied"], names(&[]), "{}", ended.stderr);
        assert_certain(&repo, case.id);
    }
    assert_eq!(repo.files_of("feat(cargo): cargo"), ["cargo/Cargo.lock", "cargo/src/count", "cargo/src/lib.rs"]);
    assert_eq!(repo.files_of("feat(python): python"), ["python/app.py", "python/test_app.py"]);
    assert!(repo.exists("python/__pycache__") && repo.exists("cargo/target/debug"), "what they make is there");
    assert_eq!(repo.exists("python/.pytest_cache/README.md"), runner == "pytest");
    if cases.len() > 2 {
        assert_eq!(repo.files_of("feat(npm): npm"), ["npm/out.txt", "npm/package-lock.json", "npm/package.json"]);
        assert_eq!(repo.read("npm/out.txt"), "1");
    }
    assert_eq!(ended.json()["unattributed"], names(&[]));
    assert_eq!(repo.status(), "");
    crate::codex::ran(runner);
}

/// Python and pytest make do without their caches where they may not write one; the rest is told.
#[test]
fn a_cache_that_git_does_not_ignore_is_refused_and_harms_nothing() {
    let repo = TestRepo::with(&[("app/lib.py", "x = 1\n")]);
    let tests = if found("pytest").is_some() { "pytest -q > $F/pytest" } else { "true" };
    let script = format!(
        "set -e; cd app; echo 'import lib; print(lib.x)' > main.py; python3 main.py > out.txt
        echo 'def test(): assert __import__(\"lib\").x == 1' > test_lib.py; {tests}"
    );
    let files = ["app/main.py", "app/out.txt", "app/test_lib.py"];
    let ended = run(&repo, "", &[agent("a", &files, &script, "")]);
    assert_state(&ended, "a", "COMPLETED", None);
    assert_eq!(
        (repo.files_of("feat(a): a"), repo.read("app/out.txt")),
        (files.map(str::to_owned).into(), "1\n".into())
    );
    let agent = ended.agent("a");
    let denied: Vec<&str> = agent["denied"].as_array().unwrap().iter().map(|path| path.as_str().unwrap()).collect();
    assert!(denied.contains(&"app/__pycache__"), "{denied:?}");
    let caches = ["app/__pycache__", "app/.pytest_cache", "app/pytest-cache-files-"];
    assert!(denied.iter().all(|path| caches.iter().any(|cache| path.starts_with(cache))), "{denied:?}");
    assert_eq!(repo.status(), "");
}

/// The editor itself, where it is there.
#[test]
fn a_real_vim_saves() {
    if found("vim").is_none() {
        // Past the test harness, which hides the output of tests that pass.
        let _ = std::io::stderr().write_all(b"a_real_vim_saves: NOT RUN, there is no vim\n");
        return;
    }
    let repo = TestRepo::with(&[("a.txt", "one\n"), ("b.txt", "one\n")]);
    let vim = "vim -u NONE -i NONE -N -es -c 'set swapfile writebackup'";
    let script = format!(
        "{vim} -c 'set backupcopy=no' -c '%s/one/two/' -c wq a.txt; {vim} -c 'set backupcopy=yes' -c '%s/one/three/' -c wq b.txt"
    );
    let ended = run(&repo, "", &[agent("a", &["a.txt", "b.txt"], &script, "")]);
    assert_state(&ended, "a", "COMPLETED", None);
    assert_eq!(ended.agent("a")["denied"], names(&[]));
    assert_eq!((repo.read("a.txt"), repo.read("b.txt")), ("two\n".to_owned(), "three\n".to_owned()));
    assert_eq!(repo.status(), "");
}
