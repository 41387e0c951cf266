//! What the layers promise together.

use std::path::Path;

use super::*;

fn text(toml: &str) -> Layered {
    let mut layered = Layered::default();
    layered.add_text(Path::new("outpost.toml"), toml);
    layered
}

fn problems(layered: &Layered) -> Vec<String> {
    layered.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_have_no_problem() {
    assert_eq!(Layered::default().checked().map_err(|p| p[0].to_string()), Ok(Config::default()));
}

#[test]
fn later_layers_win_and_every_value_knows_its_place() {
    let mut layered = text("[engine]\nslots = 2\n\nthreads = 3\n");
    layered.add_env([("OUTPOST_ENGINE__SLOTS".into(), "8".into()), ("OUTPOSTS".into(), "x".into())]);
    layered.add_flags(["http.socket=/tmp/a b.sock"]);
    assert_eq!(problems(&layered), [""; 0]);
    let config = &layered.config;
    assert_eq!((config.engine.slots, config.engine.threads), (8, 3));
    assert_eq!(layered.origin("engine.slots").to_string(), "environment OUTPOST_ENGINE__SLOTS");
    assert_eq!(layered.origin("engine.threads").to_string(), "outpost.toml:4");
    assert_eq!(layered.origin("http.socket"), Origin::Flag);
    assert_eq!(layered.origin("engine.context"), Origin::Default);
}

#[test]
fn all_problems_come_at_once_with_their_lines_and_the_nearest_name() {
    let layered =
        text("[engine]\nslot = 2\ncontext = \"big\"\n[htpp]\nsocket = \"\"\n[log]\nlevel = \"loud\"\n");
    assert_eq!(
        problems(&layered),
        [
            "outpost.toml:2: there is no key `engine.slot`; did you mean `engine.slots`?",
            "outpost.toml:3: `engine.context` is text, expected a whole number",
            "outpost.toml:4: there is no section [htpp]; did you mean `http`?",
            "outpost.toml:7: `log.level` is `loud`, expected one of error, warn, info, debug, trace",
        ]
    );
}

#[test]
fn a_file_that_is_not_toml_names_its_line() {
    let problems = problems(&text("[engine]\nslots = = 2\n"));
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("outpost.toml:2: "), "{problems:?}");
}

#[test]
fn a_wrong_variable_and_a_wrong_flag_are_problems_too() {
    let mut layered = Layered::default();
    layered.add_env([("OUTPOST_ENGINE__SLOTTS".into(), "1".into())]);
    layered.add_flags(["engine.slots", "engine.slots=many"]);
    assert_eq!(
        problems(&layered),
        [
            "environment OUTPOST_ENGINE__SLOTTS: there is no key `engine.slotts`; did you mean `engine.slots`?",
            "command line: `engine.slots`: expected section.key=value",
            "command line: `engine.slots` is text, expected a whole number",
        ]
    );
}

#[test]
fn every_key_survives_being_shown_and_read_again() {
    let shown = Config::default();
    let mut read = Config::default();
    for key in Config::KEYS {
        let value = shown.get(key.path).expect("a listed key");
        read.set(key.path, &value).expect("a listed key").expect("its own default");
        assert!(!key.doc.trim().is_empty(), "{} has no description", key.path);
    }
    assert_eq!(shown, read);
}

const SENSOR: &str = r#"
[mqtt]
url = "mqtt://broker"

[[task]]
name = "vibration"
topic = "plant/+/vibration"
prompt = "Is {{ payload.rms }} mm/s too much?"
result = "plant/{{ topic[1] }}/verdict"
on_change = ["/rms"]
every_ms = 1000
"#;

#[test]
fn entries_of_all_files_are_one_list_and_know_their_lines() {
    let mut layered = text(SENSOR);
    layered.add_text(
        Path::new("conf.d/a.toml"),
        "[[client]]\nname = \"plc\"\nuid = 1001\nlane_max = \"batch\"\n",
    );
    layered.add_text(Path::new("conf.d/b.toml"), &SENSOR.replace("vibration", "heat"));
    layered.check();
    assert_eq!(problems(&layered), [""; 0]);
    let config = &layered.config;
    let names: Vec<&str> = config.task.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["vibration", "heat"]);
    let client = &config.client[0];
    assert_eq!((client.uid, client.lane_max), (Some(1001), crate::domain::Lane::Batch));
    let task = &config.task[0];
    assert_eq!(task.on_change, OnChange::Values(vec!["/rms".into()]));
    assert_eq!((task.every_ms, task.retries, task.supersedes), (Some(1000), 1, true));
    assert_eq!(layered.entry_origin("task", 1, "prompt").to_string(), "conf.d/b.toml:8");
    assert_eq!(layered.entry_origin("task", 1, "lane").to_string(), "conf.d/b.toml:5");
    assert_eq!(layered.set_entry_origin("task", 1, "lane"), None);
}

#[test]
fn every_problem_of_an_entry_is_told_with_its_line() {
    let mut layered = text(concat!(
        "[[task]]\nname = \"a b\"\ntopc = \"x\"\nretries = 2\nresult = 5\nlane = \"fast\"\n",
        "[[client]]\nname = \"plc\"\nuid = -1\n[[client]]\nname = \"plc\"\nqueued_max = 9999\n[[client]]\n",
    ));
    layered.check();
    assert_eq!(
        problems(&layered),
        [
            "outpost.toml:3: there is no key `task.topc`; did you mean `topic`?",
            "outpost.toml:5: `task.result` of a b is a whole number, expected text in quotes",
            "outpost.toml:6: `task.lane` of a b is `fast`, expected one of interactive, normal, batch",
            "outpost.toml:1: `task.topic` of a b is missing",
            "outpost.toml:1: `task.prompt` of a b is missing",
            "outpost.toml:9: `client.uid` of plc is -1, expected 0 or more",
            "outpost.toml:13: `client.name` is missing",
            "outpost.toml:12: `client.queued_max` of plc is 9999, expected 1 to 256",
            "outpost.toml:4: `task.retries` of a b is 2, expected 0 to 1",
            "outpost.toml:2: `task.name` of a b is `a b`, expected 1 to 59 letters, digits, `-` and `_`",
            "outpost.toml:1: `task` of a b needs `mqtt.url`: a task's messages come over MQTT",
            "outpost.toml:11: `client.name` of plc is `plc`, as that of another [[client]] is",
        ]
    );
}

#[test]
fn a_list_is_no_section_and_a_section_no_list() {
    let layered = text("task = 1\n[client]\nname = \"x\"\n[[engine]]\nslots = 1\n[[tsk]]\n[clients]\n");
    assert_eq!(
        problems(&layered),
        [
            "outpost.toml:1: `task` is a list: write [[task]] before each entry",
            "outpost.toml:2: `client` is a list: write [[client]] before each entry",
            "outpost.toml:4: `engine` is a section, once: write [engine] before its keys",
            "outpost.toml:6: `tsk` is neither a [section] nor a [[list]]; did you mean `task`?",
            "outpost.toml:7: there is no section [clients]; did you mean `client`?",
        ]
    );
    assert_eq!(
        problems(&text("task = [1]")),
        ["outpost.toml:1: an entry of `task` is a whole number, expected a table of keys"]
    );
}

#[test]
fn environment_and_flags_say_that_lists_stand_in_files() {
    let mut layered = Layered::default();
    layered.add_env([("OUTPOST_TASK__NAME".into(), "x".into())]);
    layered.add_flags(["client.name=x"]);
    assert_eq!(
        problems(&layered),
        [
            "environment OUTPOST_TASK__NAME: `task` is a list: its entries, each under [[task]], stand in files only",
            "command line: `client` is a list: its entries, each under [[client]], stand in files only",
        ]
    );
}

#[test]
fn too_many_entries_are_a_problem_at_the_first_that_is_too_many() {
    let clients: Vec<_> = (0..257).map(|n| format!("[[client]]\nname = \"c{n}\"\n")).collect();
    let mut layered = text(&clients.concat());
    layered.check();
    assert_eq!(problems(&layered), ["outpost.toml:513: [[client]] stands 257 times, at most 256 are taken"]);
}

#[test]
fn every_key_of_an_entry_survives_being_shown_and_read_again() {
    let rest = "[[client]]\nname = \"plc\"\n[[site]]\nname = \"s\"\nbase_url = \"http://s/v1\"\nmodel = \"m\"\n\
                [[budget]]\nclient = \"plc\"\nusd_per_day = 0.25\n\
                [[price]]\nmodel = \"o/m\"\nprovider = \"p\"\ninput = 1\noutput = 2.5\n\
                [[provider]]\nname = \"npu\"\nlibrary = \"/l.so\"\ndevice = \"npu\"\noptions = { a = 1, b = true, c = \"x\" }\n";
    let shown = text(&(SENSOR.to_owned() + rest)).config;
    let mut read = Config::default();
    for list in Config::LISTS {
        read.add_entry(list.name);
        for key in list.keys {
            let value = shown.get_entry(list.name, 0, key.path).expect("a listed key");
            read.set_entry(list.name, 0, key.path, &value).expect("a listed key").expect("its own value");
            assert!(!key.doc.trim().is_empty(), "{} has no description", key.path);
        }
    }
    assert_eq!((shown.task, shown.client), (read.task, read.client));
    assert_eq!((shown.site, shown.budget, shown.price), (read.site, read.budget, read.price));
    let options: Vec<_> = shown.provider[0].options.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(options, [("a", "1"), ("b", "1"), ("c", "x")]);
    assert_eq!(shown.provider, read.provider);
}

#[test]
fn providers_that_cannot_be_are_refused_by_name() {
    let mut layered = text(
        "[model]\nproviders = [\"npu\", \"cuda\", \"cuda\"]\n\
         [[provider]]\nname = \"cuda\"\ndevice = \"gpu\"\n\
         [[provider]]\nname = \"tpu\"\noptions = [1]\n\
         [[provider]]\nname = \"cpu\"\noptions = { a = { b = 1 } }\n\
         [[provider]]\nname = \"a b\"\nlibrary = \"/l.so\"\ndevice = \"tpu\"\n",
    );
    layered.check();
    let told = problems(&layered).join("\n");
    for words in [
        "`model.providers` names `npu`, which is neither built in",
        "`model.providers` names `cuda` twice",
        "`provider.device` of cuda is for plug-ins",
        "`provider.library` of tpu is missing: `tpu` is not built in",
        "`provider.options` of tpu is a list, expected a table of options",
        "`provider.name` of cpu is `cpu`, which has neither options nor a library",
        "`provider.options` of cpu has `a`, which is a table, expected text or a number",
        "`provider.name` of a b is `a b`, expected letters",
        "`provider.device` of a b is `tpu`, expected one of cpu, gpu, npu",
    ] {
        assert!(told.contains(words), "`{words}` is not in:\n{told}");
    }
}
