//! Publishing real staples, and making root's targets links into the folder of staples.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::geteuid;
use staplekeeper::ocsp::{Staple, TRY_LATER};
use staplekeeper::plan::PublishFault;
use staplekeeper::publish::adopt::{Wanted, carry_out, leave, make_staples, plan};
use staplekeeper::publish::{
    Done, Publishable, Publisher, Settings, Target, What, inspect, store_entry,
};

use crate::support::disk::SmallDisk;
use crate::support::nginx::{Nginx, Site};
use crate::support::port::free_port;
use crate::support::staples::{leaves, staple};

fn publisher(folder: &Path) -> Publisher {
    let (staples, reserve) = (folder.join("staples"), folder.join("reserve"));
    fs::create_dir_all(&staples).expect("ours");
    Publisher::new(Settings { staples, reserve })
}

/// Publishes one thing and tells what came of it and what lies there then.
fn publish(publisher: &Publisher, path: &Path, what: Publishable<'_>) -> (Done, What) {
    let target = Target::File(path.into());
    let done = publisher.publish(&[(target.clone(), what)]).pop().expect("one outcome");
    (done.expect("published"), inspect(&target).expect("readable"))
}

#[test]
fn targets_hold_what_was_ordered_and_are_not_written_twice() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let publisher = publisher(folder.path());
    let path = publisher.staples().join("www.der");
    let leaf = &leaves(1)[0];
    let (old, new) = (staple(leaf, 60), staple(leaf, 0));
    let cases = [
        (Publishable::Nothing, Done::Unchanged, What::Missing),
        (Publishable::Placeholder, Done::Written, What::Placeholder),
        (Publishable::Placeholder, Done::Unchanged, What::Placeholder),
        (Publishable::Staple(&old), Done::Written, What::Bytes(old.der().to_vec())),
        (Publishable::Staple(&new), Done::Written, What::Bytes(new.der().to_vec())),
        (Publishable::Staple(&new), Done::Unchanged, What::Bytes(new.der().to_vec())),
        (Publishable::Nothing, Done::Written, What::Missing),
    ];
    for (what, done, there) in cases {
        let inode = fs::metadata(&path).map(|found| found.ino()).ok();
        assert_eq!(publish(&publisher, &path, what), (done, there), "{what:?}");
        let now = fs::metadata(&path).map(|found| (found.ino(), found.mode() & 0o777)).ok();
        assert!(now.is_none_or(|(_, mode)| mode == 0o644));
        assert_eq!(done == Done::Unchanged, inode == now.map(|(inode, _)| inode), "{what:?}");
    }
    // Through a link, as `adopt` leaves it.
    let link = folder.path().join("link.der");
    symlink(&path, &link).expect("ours");
    publish(&publisher, &link, Publishable::Staple(&new));
    assert!(link.is_symlink() && fs::read(&path).expect("there") == new.der());
}

#[test]
fn each_failure_costs_only_itself_and_says_what_to_do() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let publisher = publisher(folder.path());
    let at = |name: &str| folder.path().join(name);
    nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).expect("ours");
    fs::create_dir(at("folder.der")).expect("ours");
    fs::write(at("long.der"), vec![0; 70_000]).expect("ours");
    let cases = [
        (at("missing/www.der"), Some("missing does not exist: run `staplekeeper adopt` as root")),
        ("/proc/www.der".into(), None),
        (at("pipe"), None),
        (at("folder.der"), None),
        ("www.der".into(), Some("give its whole path")),
    ];
    let good = [at("one.der"), at("staples/two.der"), at("long.der")];
    let paths = cases.iter().map(|(path, _)| path).chain(&good);
    let orders: Vec<_> =
        paths.map(|path| (Target::File(path.as_path().into()), Publishable::Placeholder)).collect();
    let mut outcomes = publisher.publish(&orders);
    for outcome in outcomes.split_off(cases.len()) {
        assert_eq!(outcome.expect("the others go on"), Done::Written);
    }
    for ((path, hint), outcome) in cases.iter().zip(outcomes) {
        let error = outcome.expect_err("it cannot be written");
        assert_eq!(error.fault(), PublishFault::Refused, "{}", path.display());
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        let said = error.hint();
        let as_expected =
            hint.is_none_or(|hint| said.as_ref().is_some_and(|said| said.contains(hint)));
        assert!(as_expected, "{}: {said:?}", path.display());
    }
    fs::write(at("long.der"), vec![0; 70_000]).expect("ours");
    for path in [at("pipe"), at("folder.der"), at("long.der")] {
        assert!(inspect(&Target::File(path.into())).is_err(), "only short files are read");
    }
}

#[test]
fn a_full_disk_does_not_stop_publishing() {
    let Some(disk) = SmallDisk::mount() else { return };
    let publisher = publisher(disk.path());
    let leaves = leaves(100);
    let targets: Vec<_> = (0..leaves.len())
        .map(|n| Target::File(publisher.staples().join(format!("{n}.der")).into()))
        .collect();
    let publish = |age: i64| {
        let staples: Vec<_> = leaves.iter().map(|leaf| staple(leaf, age)).collect();
        let orders = targets.iter().cloned().zip(staples.iter().map(Publishable::Staple));
        for outcome in publisher.publish(&orders.collect::<Vec<_>>()) {
            assert_eq!(outcome.expect("there is room for staples"), Done::Written);
        }
        for (target, staple) in targets.iter().zip(&staples) {
            assert_eq!(inspect(target).expect("there"), What::Bytes(staple.der().to_vec()));
        }
    };
    publish(60);
    disk.fill();
    publish(30);
    assert!(disk.path().join("reserve").exists(), "room is set aside again");
    publish(0);
}

/// A folder of root's with the folder of staples of some other user in it.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Option<Host> {
        if !geteuid().is_root() {
            eprintln!("skipped: only root can adopt");
            return None;
        }
        let host = Host(tempfile::tempdir().expect("a temp folder"));
        fs::create_dir(host.at("staples")).expect("ours");
        host.give("staples", 12_345);
        fs::create_dir(host.at("ssl")).expect("ours");
        Some(host)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().canonicalize().expect("there").join(name)
    }

    fn give(&self, name: &str, uid: u32) {
        chown(self.at(name), Some(uid), Some(uid)).expect("root may");
    }

    /// The steps for one target, one a line, with the folder's own path cut out; then they are taken.
    fn adopt(&self, target: &str) -> String {
        let wanted = Wanted {
            path: self.at(target),
            name: "www".to_owned(),
            placeholder: true,
            instead: None,
        };
        let steps = plan(&[wanted], &self.at("staples")).expect("the folder is there");
        for outcome in carry_out(&steps) {
            outcome.expect("root may");
        }
        let lines: Vec<_> = steps.iter().map(ToString::to_string).collect();
        lines.join("\n").replace(&format!("{}/", self.at("").display()).replace("//", "/"), "")
    }
}

#[test]
fn roots_targets_become_links() {
    let Some(host) = Host::new() else { return };
    let steps = "put a placeholder into staples/www.der\nmake ssl/a.der a link to staples/www.der";
    assert_eq!(host.adopt("ssl/a.der"), steps);
    assert_eq!(host.adopt("ssl/a.der"), "leave ssl/a.der: it leads into the folder of staples");
    assert_eq!(fs::read(host.at("ssl/a.der")).expect("through the link"), TRY_LATER);
    let made = fs::metadata(host.at("staples/www.der")).expect("made");
    assert_eq!((made.uid(), made.mode() & 0o777), (12_345, 0o644), "the agent can replace it");

    // A missing end is filled again: the next boot's nginx must find something.
    fs::remove_file(host.at("staples/www.der")).expect("ours");
    let steps = "put a placeholder into staples/www.der\nleave ssl/a.der: it leads into the folder of staples";
    assert_eq!(host.adopt("ssl/a.der"), steps);

    // What lay there moves in, over a placeholder too, unless it is no response.
    let staple = staple(&leaves(1)[0], 0);
    fs::write(host.at("ssl/b.der"), staple.der()).expect("ours");
    let steps = "copy ssl/b.der to staples/www.der\nmake ssl/b.der a link to staples/www.der";
    assert_eq!(host.adopt("ssl/b.der"), steps);
    assert_eq!(fs::read(host.at("ssl/b.der")).expect("through the link"), staple.der());
    fs::write(host.at("ssl/c.der"), "junk").expect("ours");
    assert_eq!(host.adopt("ssl/c.der"), "make ssl/c.der a link to staples/www.der");

    let steps = "make the folder new\nmake the folder new/deep\nmake new/deep/d.der a link to staples/www.der";
    assert_eq!(host.adopt("new/deep/d.der"), steps);
    assert!(host.at("new/deep/d.der").is_symlink());
    assert_eq!(
        host.adopt("staples/www.der"),
        "leave staples/www.der: it leads into the folder of staples"
    );
    host.give("ssl", 12_345);
    assert_eq!(host.adopt("ssl/e.der"), "leave ssl/e.der: the agent may write there");
    let strays = ["ssl", "staples", "new/deep"].map(|folder| {
        let names = fs::read_dir(host.at(folder)).expect("there").flatten();
        names.filter(|entry| entry.file_name().to_string_lossy().starts_with('.')).count()
    });
    assert_eq!(strays, [0; 3]);
}

#[test]
fn root_follows_nobody_elses_hand() {
    let Some(host) = Host::new() else { return };
    fs::create_dir_all(host.at("home/ssl")).expect("ours");
    host.give("home", 1000);
    let refusal =
        "refuse home/ssl/a.der: home belongs to uid 1000, who could put something else there";
    assert_eq!(
        host.adopt("home/ssl/a.der").replace(&host.at("").display().to_string(), ""),
        refusal
    );
    symlink(host.at("home/ssl"), host.at("ssl/home")).expect("ours");
    assert!(host.adopt("ssl/home/a.der").contains("home belongs to uid 1000"), "through a link");
    chown(host.at("ssl"), Some(0), Some(54_321)).expect("root may");
    let mode = fs::Permissions::from_mode;
    fs::set_permissions(host.at("ssl"), mode(0o775)).expect("ours");
    let refusal = "refuse ssl/a.der: ssl can be written to by others (mode 0775)";
    assert_eq!(host.adopt("ssl/a.der"), refusal);
    fs::set_permissions(host.at("ssl"), mode(0o755)).expect("ours");
    fs::create_dir(host.at("ssl/folder.der")).expect("ours");
    let refusal = "refuse ssl/folder.der: something else than a file lies there";
    assert_eq!(host.adopt("ssl/folder.der"), refusal);
    assert!(host.adopt("ssl/../ssl/b.der").starts_with("refuse"));
    // nginx opens it as it is written; whoever wrote it meant another file.
    for path in ["ssl/$ssl_server_name.der", "ssl/${name}/a.der"] {
        let said = host.adopt(path);
        assert!(said.starts_with(&format!("refuse {path}: its name has a variable")), "{said}");
        assert!(!host.at(path).exists());
    }
    assert!(!host.adopt("ssl/100$.der").starts_with("refuse"), "no variable's name follows");
    assert!(!host.at("home/ssl/a.der").exists() && !host.at("ssl/b.der").exists());

    // What root leaves for the agent is the agent's, and goes where no link of his leads.
    fs::create_dir_all(host.at("state/audit")).expect("ours");
    host.give("state/audit", 12_345);
    leave(&host.at("state/audit"), "left-1.jsonl", b"{}").expect("root may");
    let left = fs::metadata(host.at("state/audit/left-1.jsonl")).expect("there");
    assert_eq!((left.uid(), left.mode() & 0o777, left.len()), (12_345, 0o644, 2));
    host.give("state", 12_345);
    symlink(host.at("ssl"), host.at("state/trap")).expect("ours");
    lchown(host.at("state/trap"), Some(12_345), Some(12_345)).expect("root may");
    let error = leave(&host.at("state/trap"), "left-1.jsonl", b"{}").expect_err("a trap");
    assert!(error.to_string().contains("state/trap is a link that others"), "{error}");
    assert!(!host.at("ssl/left-1.jsonl").exists());

    // The agent's user puts a link where root will write, and another folder in place of its own.
    symlink("/etc/hostname", host.at("staples/www.der.tmp")).expect("ours");
    let wanted = |name: &str| {
        let path = host.at(&format!("ssl/{name}.der"));
        [Wanted { path, name: name.to_owned(), placeholder: true, instead: None }]
    };
    let steps = plan(&wanted("trap"), &host.at("staples")).expect("there");
    symlink("/tmp/adopted-by-mistake", host.at("staples/trap.der")).expect("ours");
    carry_out(&steps).into_iter().for_each(|outcome| outcome.expect("the link is replaced"));
    assert!(!host.at("staples/trap.der").is_symlink());
    assert!(!Path::new("/tmp/adopted-by-mistake").exists());
    let steps = plan(&wanted("swap"), &host.at("staples")).expect("there");
    fs::rename(host.at("staples"), host.at("moved")).expect("ours");
    symlink(host.at("home"), host.at("staples")).expect("ours");
    let outcomes = carry_out(&steps);
    assert!(outcomes.iter().all(Result::is_err), "{outcomes:?}");
    assert!(!host.at("home/swap.der").exists() && !host.at("ssl/swap.der").exists());
}

#[test]
fn roots_writing_does_not_leave_the_agents_folders() {
    let Some(host) = Host::new() else { return };
    // As the packages make it: the folder of state is the agent's, and so is what lies in it.
    make_staples(&host.at("state/staples"), Some((65_534.into(), 65_534.into())))
        .expect("root may");
    for folder in ["state", "state/staples"] {
        let made = fs::metadata(host.at(folder)).expect("made");
        assert_eq!((made.uid(), made.mode() & 0o777), (65_534, 0o755), "{folder}");
    }
    fs::write(host.at("ssl/root.der"), "root's").expect("ours");
    let staples = host.at("state/staples");
    let wanted = [host.at("state/staples/root.der"), host.at("ssl/new.der")].map(|path| Wanted {
        path,
        name: "root".to_owned(),
        placeholder: true,
        instead: Some(TRY_LATER.to_vec()),
    });
    let steps = plan(&wanted, &staples).expect("nothing is wrong yet");
    assert!(carry_out(&steps).iter().all(Result::is_ok), "the folder is as it should be");
    assert_eq!(fs::read(host.at("state/staples/root.der")).expect("made"), TRY_LATER);

    // Its owner leads it into a folder of root's, after root looked and before.
    fs::remove_dir_all(&staples).expect("ours");
    symlink(host.at("ssl"), &staples).expect("ours");
    let nobody = Some(65_534.into());
    nix::unistd::fchownat(
        nix::fcntl::AT_FDCWD,
        &staples,
        nobody,
        Some(65_534.into()),
        nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
    )
    .expect("root may");
    let outcomes = carry_out(&steps);
    assert!(outcomes.iter().any(Result::is_err), "{outcomes:?}");
    let refused = plan(&wanted, &staples).expect_err("a link of the agent's").to_string();
    assert!(
        refused.contains("state/staples is a link that others than root could lead"),
        "{refused}"
    );
    assert_eq!(fs::read(host.at("ssl/root.der")).expect("there"), b"root's");
    assert_eq!(fs::metadata(host.at("ssl/root.der")).expect("there").uid(), 0);

    // A link that is missing its end is nothing to make folders behind.
    fs::remove_file(&staples).expect("ours");
    symlink(host.at("made-by-mistake"), &staples).expect("ours");
    let _ = make_staples(&staples, Some((65_534.into(), 65_534.into())));
    assert!(!host.at("made-by-mistake").exists());
}

#[test]
fn nginx_starts_with_an_adopted_target() {
    let Some(host) = Host::new() else { return };
    let leaf = &leaves(1)[0];
    let mut nginx = Nginx::new();
    nginx.write("chain.pem", leaf.chain_pem());
    nginx.write("key.pem", leaf.key_pem());
    let target = host.at("ssl/www.der");
    let staple = target.display().to_string();
    let (certificate, key) = ("chain.pem", "key.pem");
    let site =
        Site { port: free_port(), certificate, key, staple: Some(&staple), ..Site::default() };
    nginx.http(&site.to_string());
    let complaint = nginx.test().expect_err("a missing file stops every site");
    assert!(complaint.contains("BIO_new_file"), "{complaint}");
    host.adopt("ssl/www.der");
    nginx.start();
    let real = crate::support::staples::staple(leaf, 0);
    let publisher =
        Publisher::new(Settings { staples: host.at("staples"), reserve: host.at("reserve") });
    publish(&publisher, &target, Publishable::Staple(&real));
    assert!(target.is_symlink());
    assert_eq!(nginx.reload(), Ok(()));
}

#[test]
fn entries_of_mod_mds_store_are_made_read_and_removed() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let publisher = publisher(folder.path());
    let leaf = &leaves(1)[0];
    let (old, new) = (staple(leaf, 60), staple(leaf, 0));
    let entry = store_entry::path(&folder.path().join("md/ocsp/other"), b"leaf");
    let target = Target::StoreEntry(entry.as_path().into());
    let publish = |what| {
        let done = publisher.publish(&[(target.clone(), what)]).pop().expect("one outcome");
        (done.expect("published"), inspect(&target).expect("readable"))
    };
    let entry_of = |staple: &Staple| {
        let valid = Some((staple.this_update(), staple.expires()));
        What::Entry(store_entry::Found { response: staple.der().to_vec(), valid })
    };
    let cases = [
        (Publishable::Nothing, Done::Unchanged, What::Missing),
        (Publishable::Placeholder, Done::Unchanged, What::Missing),
        (Publishable::Staple(&old), Done::Written, entry_of(&old)),
        (Publishable::Staple(&old), Done::Unchanged, entry_of(&old)),
        (Publishable::Staple(&new), Done::Written, entry_of(&new)),
        (Publishable::Placeholder, Done::Written, What::Missing),
        (Publishable::Staple(&new), Done::Written, entry_of(&new)),
        (Publishable::Nothing, Done::Written, What::Missing),
    ];
    for (what, done, there) in cases {
        assert_eq!(publish(what), (done, there), "{what:?}");
    }
    publish(Publishable::Staple(&new));
    let text = fs::read_to_string(&entry).expect("there");
    let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(read["status"], "good");
    for bound in ["from", "until"] {
        let date = read["valid"][bound].as_str().expect("a date");
        assert!(date.ends_with(" GMT") && date.len() == 29, "{text}");
    }
    // What is no entry is replaced, and one by whose dates mod_md would drop a good staple.
    let until = read["valid"]["until"].as_str().expect("a date");
    let from = read["valid"]["from"].as_str().expect("a date");
    let spoilt =
        [text.replace(until, from), text.replace("until", "til"), text.replace(" GMT", "")];
    for spoilt in spoilt.iter().map(String::as_str).chain(["{}", "", "[1]"]) {
        fs::write(&entry, spoilt).expect("ours");
        assert_eq!(publish(Publishable::Staple(&new)), (Done::Written, entry_of(&new)), "{spoilt}");
        assert_eq!(fs::read_to_string(&entry).expect("there"), text);
    }
    // Where there is no Apache, nothing is made.
    let nowhere = store_entry::path(&folder.path().join("none/etc/md/ocsp/other"), b"leaf");
    let nowhere = Target::StoreEntry(nowhere.into());
    let refused = publisher.publish(&[(nowhere, Publishable::Staple(&new))]).pop();
    let refused = refused.expect("one outcome").expect_err("too much is missing");
    assert_eq!(refused.fault(), PublishFault::Refused);
    assert!(refused.hint().is_some_and(|hint| hint.contains("mod_md")), "{refused}");
}
