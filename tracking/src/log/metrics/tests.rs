use super::*;
use std::fs;

fn start(step: usize) -> Line {
    Line::Start(Start {
        epoch: step / 10,
        step,
        name: "fast".into(),
        model: "lenet".into(),
        parameters: 44426,
        precision: "bf16".into(),
        data: "data \"quoted\"\n".into(),
        fingerprint: Some("abc".into()),
        image_shape: [1, 28, 28],
        classes: 10,
        images: 640,
        validation_images: 0,
        batch_size: 64,
        shard: 32,
        epochs: 3,
        threads: 2,
        isa: "avx2".into(),
        directory: "runs/fast-1".into(),
        missing: None,
    })
}

fn progress(step: usize) -> Line {
    Line::Progress(Progress {
        epoch: step.div_ceil(10),
        step,
        loss: 1.0 / step as f64,
        images_per_second: 1e5,
        learning_rate: 0.1,
        seconds: 0.25,
    })
}

fn epoch(step: usize) -> Line {
    Line::Epoch(Epoch {
        epoch: step / 10,
        step,
        loss: 0.1 + 0.2,
        accuracy: 0.75,
        validation_loss: None,
        top1: Some(0.5),
        top5: None,
        images_per_second: 1e5,
        learning_rate: 0.1,
        seconds: 0.5,
    })
}

fn end(step: usize) -> Line {
    Line::End(End {
        epoch: step / 10,
        step,
        reason: Stop::Epochs,
        loss: Some(0.5),
        validation_loss: None,
        top1: None,
        top5: None,
        collapsed: None,
        seconds: 3.0,
        model: None,
        error: None,
    })
}

/// Programs read these keys.
#[test]
fn keys_are_stable() {
    let json = r#"{"event":"epoch","epoch":2,"step":20,"loss":0.30000000000000004,"#.to_owned()
        + r#""accuracy":0.75,"validation_loss":null,"top1":0.5,"top5":null,"#
        + r#""images_per_second":100000.0,"learning_rate":0.1,"seconds":0.5}"#;
    assert_eq!(epoch(20).to_json(), json);
    assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), epoch(20));
    let names = |line: Line| line.to_json()[10..].split('"').next().unwrap().to_owned();
    assert_eq!([start(1), progress(1), end(1)].map(names), ["start", "progress", "end"]);
}

#[test]
fn a_resumed_run_tells_each_step_once() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("metrics.jsonl");
    let run = |mut writer: MetricsWriter, lines: &[Line]| {
        lines.iter().for_each(|line| writer.write(line).unwrap());
        read_metrics(&path).unwrap()
    };
    assert_eq!(read_metrics(&path).unwrap(), []);
    fs::write(&path, "of an older run").unwrap();
    let first = [start(0), progress(5), epoch(10), progress(15)];
    assert_eq!(run(MetricsWriter::create(&path).unwrap(), &first), first);
    // Torn, not of ours, or complete.
    for tail in ["", "{\"event\":\"epo", "no JSON\n", &format!("{}\n", end(10).to_json())] {
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + tail).unwrap();
        let resumed = [start(10), progress(13), epoch(20), end(20)];
        let found = run(MetricsWriter::resume(&path, 10).unwrap(), &resumed);
        assert_eq!(found, [&first[..3], &resumed].concat());
    }
    let extended = run(MetricsWriter::resume(&path, 20).unwrap(), &[start(20)]);
    assert_eq!(extended.len(), 7);
    assert_eq!(extended[5..], [epoch(20), start(20)]);
    // From before the first step.
    let again = run(MetricsWriter::resume(&path, 0).unwrap(), &[progress(1)]);
    assert_eq!(again, [start(0), progress(1)]);
}

#[test]
fn errors_name_the_file() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("none/metrics.jsonl");
    let message = MetricsWriter::create(&path).err().unwrap().to_string();
    assert!(message.contains(&format!("{}: cannot write: ", path.display())), "{message}");
    let message = read_metrics(directory.path()).unwrap_err().to_string();
    assert!(message.contains("cannot read: "), "{message}");
}
