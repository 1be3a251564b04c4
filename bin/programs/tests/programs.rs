//! The programs of one command each: that they are these, and how they say what to do next.

use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

const PROGRAMS: [(&str, &str); 5] = [
    ("train", env!("CARGO_BIN_EXE_train")),
    ("evaluate", env!("CARGO_BIN_EXE_evaluate")),
    ("predict", env!("CARGO_BIN_EXE_predict")),
    ("export", env!("CARGO_BIN_EXE_export")),
    ("import", env!("CARGO_BIN_EXE_import")),
];

#[test]
fn each_is_its_command() {
    for (name, path) in PROGRAMS {
        let say = |flag: &str| {
            let output = Command::new(path).arg(flag).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        };
        assert_eq!(say("--version"), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
        let help = say("--help");
        assert!(help.contains(&format!("Usage: {name} ")), "{help}");
        assert!(help.contains(&format!("\nExamples:\n  bobbin {name} ")), "{help}");
    }
}

/// What `import` says to do next is the program beside it.
#[test]
fn the_next_program_is_the_one_beside_it() {
    let directory = TempDir::new().unwrap();
    for class in ["a", "b"] {
        let folder = directory.path().join("pictures").join(class);
        std::fs::create_dir_all(&folder).unwrap();
        for number in 0..4 {
            std::fs::write(folder.join(format!("{number}.bmp")), BMP).unwrap();
        }
    }
    let import = Path::new(env!("CARGO_BIN_EXE_import"));
    let mut command = Command::new(import);
    command.args(["pictures", "--out", "set"]).current_dir(directory.path());
    let output = command.output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let train = import.with_file_name("train");
    let next = format!("to train on it: {} --recipe pictures --data set", train.display());
    assert!(printed.contains(&next), "{next}: {printed}");
    let run = ["--data", "set", "--set", "stop.iterations=1", "--batch-size", "4", "--quiet"];
    let status = Command::new(&train).args(run).current_dir(directory.path()).status().unwrap();
    assert!(status.success());
    assert!(directory.path().join("runs/pictures-1/model.safetensors").is_file());
}

/// A picture of one blue pixel.
const BMP: [u8; 58] = {
    let mut bytes = [0; 58];
    bytes[0] = b'B';
    bytes[1] = b'M';
    bytes[2] = 58;
    bytes[10] = 54;
    bytes[14] = 40;
    bytes[18] = 1;
    bytes[22] = 1;
    bytes[26] = 1;
    bytes[28] = 24;
    bytes[34] = 4;
    bytes[54] = 255;
    bytes
};
