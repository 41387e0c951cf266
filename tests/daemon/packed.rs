//! Weights that are packed for the processor once and then mapped.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
};

use rustix::process::Signal;

use crate::harness::{Daemon, cached, prompt, until};

const ALWAYS: &str = "engine.packed_weights=always";

fn answer(daemon: &Daemon) -> String {
    daemon.chat(&prompt("Name three fruits.", 30)).good()["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// What lies in the folder of packed weights.
fn packed(daemon: &Daemon) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(daemon.socket().with_file_name("state").join("prepared")) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn anonymous_mb(daemon: &Daemon) -> u64 {
    daemon.anonymous_kib() / 1000
}

fn kill(daemon: &mut Daemon) {
    daemon.signal(Signal::KILL);
    daemon.ended();
}

#[test]
fn packed_weights_are_made_once_take_no_memory_of_their_own_and_answer_the_same() {
    let plain = Daemon::start(&["engine.packed_weights=auto"]);
    assert!(packed(&plain).is_empty(), "a small model is packed in a second");
    let wanted = answer(&plain);
    let before = anonymous_mb(&plain);
    drop(plain);

    let mut daemon = Daemon::start(&[ALWAYS]);
    let made = packed(&daemon);
    let [dir] = &made[..] else { panic!("{made:?}") };
    assert!(dir.file_name().unwrap().to_str().unwrap().starts_with("packed-smollm2-135m-instruct-"));
    assert_eq!(answer(&daemon), wanted);
    let first = anonymous_mb(&daemon);
    kill(&mut daemon);
    let data = |dir: &PathBuf| fs::metadata(dir.join("model.onnx.data")).unwrap().modified().unwrap();
    let written = data(dir);
    daemon.restart();
    assert_eq!((packed(&daemon), data(dir)), (made.clone(), written), "it is not made once more");
    assert_eq!(answer(&daemon), wanted);
    let after = anonymous_mb(&daemon);
    let found = format!("anonymous memory: {before} MB, with packed weights {first} MB, then {after} MB");
    println!("{found}");
    // Who packs them does not keep what that took.
    assert!(first.max(after) + 60 < before, "{found}");
}

#[test]
fn packed_weights_that_are_damaged_are_made_anew_or_thrown_away() {
    let mut daemon = Daemon::start(&[ALWAYS]);
    let wanted = answer(&daemon);
    let dir = packed(&daemon).pop().unwrap();
    let data = dir.join("model.onnx.data");
    let size = fs::metadata(&data).unwrap().len();

    // It is shorter than it was.
    kill(&mut daemon);
    File::options().write(true).open(&data).unwrap().set_len(size / 2).unwrap();
    daemon.restart();
    assert_eq!(fs::metadata(&data).unwrap().len(), size);
    assert_eq!(answer(&daemon), wanted);

    // It is as it was for whoever asks for size and time, but not inside.
    kill(&mut daemon);
    let file = File::options().write(true).open(&data).unwrap();
    let written = file.metadata().unwrap().modified().unwrap();
    let noise = vec![0x5a; 1 << 20];
    (0..size >> 20).for_each(|at| file.write_all_at(&noise, at << 20).unwrap());
    file.set_modified(written).unwrap();
    drop(file);
    daemon.restart();
    assert_eq!(answer(&daemon), wanted);
    assert!(daemon.log().contains("what was prepared is of no use and is thrown away"), "{}", daemon.log());
    assert!(packed(&daemon).is_empty());
}

#[test]
fn a_daemon_that_is_killed_while_it_packs_begins_again() {
    let settings = [
        format!("model.package={}", cached("models/smollm2-135m-instruct").display()),
        format!("runtime.onnxruntime={}", cached("onnxruntime/libonnxruntime.so").display()),
        "engine.context=512".into(),
        ALWAYS.into(),
    ];
    let mut daemon = Daemon::spawn(&settings.each_ref().map(String::as_str));
    until("it has begun to pack", || {
        packed(&daemon)
            .iter()
            .any(|path| {
                path.join("model.onnx.data").exists() && path.extension().is_some_and(|e| e == "part")
            })
            .then_some(())
    });
    kill(&mut daemon);
    // Of other models only the one that was used last stays.
    let home = daemon.socket().with_file_name("state").join("prepared");
    for (name, note) in [("packed-old-1", true), ("packed-old-2", true), ("packed-junk", false)] {
        fs::create_dir(home.join(name)).unwrap();
        if note {
            fs::write(home.join(name).join("prepared.toml"), "").unwrap();
        }
    }
    let old = File::options().write(true).open(home.join("packed-old-1/prepared.toml")).unwrap();
    old.set_modified(std::time::UNIX_EPOCH).unwrap();
    daemon.restart();
    assert!(!answer(&daemon).is_empty());
    let names: Vec<_> =
        packed(&daemon).iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[0] == "packed-old-2" && names[1].starts_with("packed-smollm2-135m-instruct-"), "{names:?}");
    assert!(!names[1].contains(".part"), "{names:?}");
}

#[test]
fn without_room_for_them_the_model_runs_as_it_is() {
    let daemon = Daemon::start(&[ALWAYS, "store.free_min_mb=1000000"]);
    assert!(!answer(&daemon).is_empty());
    assert!(packed(&daemon).is_empty());
    assert!(daemon.log().contains("MB of disk, of which 0 can be had"), "{}", daemon.log());
}
