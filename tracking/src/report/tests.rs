//! Pages of small runs, whose names of classes are those of an enemy.

use super::*;
use crate::metrics::{Epoch, Measures, Progress, Start, Validation};
use ::model::{CUSTOM, Init, Network, conv2d, flatten, layers, linear, relu};
use dataset::{Dataset, Source};
use std::path::Path;
use tempfile::TempDir;
use trainer::Evaluation;
use trainer::scores::{ClassScores, Metrics, Mistake};

const HOSTILE: &str = "<script>alert('x')</script>\"&\u{7}";

/// Images of this shape, rows first, whose bytes count up.
fn data(directory: &Path, [height, width, channels]: [usize; 3], images: usize) -> Dataset {
    let sizes = [images, height, width, channels];
    let sizes = if channels == 1 { &sizes[..3] } else { &sizes };
    let mut file = vec![0, 0, 8, sizes.len() as u8];
    sizes.iter().for_each(|&size| file.extend((size as u32).to_be_bytes()));
    file.extend((0..images * height * width * channels).map(|i| ((i * i) >> 3) as u8));
    std::fs::write(directory.join("t10k-images-idx3-ubyte"), file).unwrap();
    let labels = [vec![0, 0, 8, 1], (images as u32).to_be_bytes().into(), vec![0; images]];
    std::fs::write(directory.join("t10k-labels-idx1-ubyte"), labels.concat()).unwrap();
    Dataset::open(&Source::new(directory)).unwrap()
}

fn model([height, width, channels]: [usize; 3], classes: usize) -> Model {
    let layers = layers![conv2d(4, 3), relu(), flatten(), linear(classes)];
    let network = Network::new([channels, height, width], &layers).unwrap();
    Model {
        preset: CUSTOM.into(),
        weights: network.initialise(1, Init::Pytorch),
        network,
        classes: vec![HOSTILE.into(); classes],
        mean: vec![0.0],
        std: vec![1.0],
        multi_label: false,
        preparation: None,
    }
}

/// Of ten images of each class one is taken for the next class.
fn scores(classes: usize, mistakes: usize) -> Scores {
    let mut confusion = vec![vec![0; classes]; classes];
    for (class, row) in confusion.iter_mut().enumerate() {
        row[class] += 9;
        row[(class + 1) % classes] += 1;
    }
    let part = Some(0.9);
    let of_class = |class: usize| ClassScores {
        name: if class == 1 { HOSTILE.into() } else { format!("class {class}") },
        precision: part,
        recall: if class == 0 { None } else { part },
        f1: part,
        support: 10,
        auc: None,
    };
    let name = |image| (image % 2 == 1).then(|| format!("{HOSTILE}/{image}.png"));
    let mistake =
        |image| Mistake { image, name: name(image), label: 0, predicted: 1, probability: 0.98765 };
    Scores {
        images: 10 * classes,
        loss: 0.5,
        top1: 0.9,
        top5: Some(0.99),
        metrics: Metrics {
            balanced_accuracy: 0.85,
            macro_f1: 0.8,
            auc: (classes == 2).then_some(0.75),
            ece: 0.05,
            collapsed: None,
        },
        ranks: vec![],
        classes: (0..classes).map(of_class).collect(),
        confusion,
        mistakes: (0..mistakes).map(mistake).collect(),
    }
}

/// Ten steps to an epoch; every second epoch is validated.
fn history(epochs: usize) -> Vec<Line> {
    let mut lines = vec![Line::Start(Start {
        epoch: 0,
        step: 0,
        name: HOSTILE.into(),
        model: "lenet".into(),
        parameters: 1234,
        precision: "f32".into(),
        data: "/data/fashion/".into(),
        fingerprint: None,
        image_shape: [1, 8, 8],
        classes: 3,
        images: 640,
        validation_images: 30,
        batch_size: 64,
        shard: 32,
        epochs,
        threads: 2,
        isa: "avx2".into(),
        directory: "runs/fast-1".into(),
        missing: None,
    })];
    for epoch in 1..=epochs {
        let (step, loss, learning_rate) = (10 * epoch, 2.0 / epoch as f64, 1e-4);
        let (images_per_second, seconds) = (12_345.6, 30.0);
        let validated = epoch.is_multiple_of(2);
        let top1 = validated.then_some(0.8);
        if validated {
            let (validation_loss, top1, top5) = (loss, 0.8, Some(0.9));
            let collapsed = None;
            let measures = Measures { ece: Some(0.05), ..Measures::default() };
            let line = Validation {
                epoch,
                step,
                validation_loss,
                top1,
                top5,
                measures,
                collapsed,
                seconds,
            };
            lines.push(Line::Validation(line));
        }
        let progress =
            Progress { epoch, step: step - 5, loss, images_per_second, learning_rate, seconds };
        lines.push(Line::Progress(progress));
        lines.push(Line::Epoch(Epoch {
            epoch,
            step,
            loss,
            accuracy: 0.75,
            validation_loss: validated.then_some(loss),
            top1,
            top5: top1,
            images_per_second,
            learning_rate,
            seconds,
        }));
    }
    lines
}

/// Nothing that a browser would run or fetch, whatever the names are.
fn check_safe(html: &str) {
    let policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'";
    assert_eq!(html.matches(policy).count(), 1);
    for forbidden in
        ["<script", "</script", "alert('", "http:", "https:", "url(", "@import", "\u{7}"]
    {
        assert!(!html.contains(forbidden), "{forbidden}");
    }
    for address in html.split("src=\"").skip(1) {
        assert!(address.starts_with("data:image/png;base64,"), "{}", &address[..40]);
    }
    for number in ["NaN", "inf\"", "infinity"] {
        assert!(!html.contains(number), "{number}");
    }
}

fn report(shape: [usize; 3], classes: usize, mistakes: usize, lines: &[Line]) -> String {
    let directory = TempDir::new().unwrap();
    let data = data(directory.path(), shape, mistakes.max(1));
    let (scores, model) = (scores(classes, mistakes), model(shape, classes));
    let split = data.test().unwrap();
    let scored = Scored { scores: &scores, split, of: "test images" };
    let best_scores = Scores { top1: 0.95, loss: 0.25, ..scores.clone() };
    let evaluation = Evaluation { loss: 0.5, accuracy: 0.8, top5: None, metrics: None };
    let best = Best { step: 20, epoch: 2, evaluation };
    let (recipe, repeat) = ("# <script>\nseed = 1\n", "train --recipe '<b>'");
    let html = Report {
        metrics: lines,
        recipe,
        repeat,
        model: &model,
        best: Some(best),
        scores: Some(scored),
        best_scores: Some(&best_scores),
    }
    .html();
    check_safe(&html);
    html
}

fn count(html: &str, what: &str) -> usize {
    html.matches(what).count()
}

#[test]
fn everything_is_on_the_page() {
    let html = report([8, 8, 1], 3, 2, &history(4));
    let expected = [
        "<title>&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\u{fffd} – Bobbin</title>",
        "90.00\u{a0}%<small>30 test images, 74.38 to 96.54\u{a0}% at 95\u{a0}% confidence: model.safetensors, \
         after epoch 4<",
        "<dt>Top-1 of the best</dt><dd>95.00\u{a0}%<small>the same images, 80.95 to 98.84\u{a0}% at 95\u{a0}% \
         confidence, loss 0.2500: best.safetensors, of epoch 2;",
        "<dt>Best epoch</dt><dd>2<small>held-out images: loss 0.5000, top-1 80.00\u{a0}%",
        "<dd>12,346<small>median, 2 threads, avx2",
        "<dd>2 min 00 s<small>4 epochs, 40 steps<",
        "<bdi>fashion</bdi><small>640 images, 8×8 grey, 3 classes",
        "title=\"class 0: 1 taken for &lt;script&gt;",
        "<bdi>class 0</bdi><td>90.00\u{a0}%<td>–<td class=\"bar\"",
        "<b>98.8 %</b></span><span class=\"truth\">true: <bdi>class 0</bdi>",
        "<code>0.weight</code>: 4 filters of 3×3 on 1 channel",
        "<pre># &lt;script&gt;\nseed = 1</pre>",
        "train --recipe &#39;&lt;b&gt;&#39;",
    ];
    for text in expected {
        assert!(html.contains(text), "{text}");
    }
    assert_eq!(count(&html, "<figure class=\"chart\">"), 4);
    assert_eq!(count(&html, "<rect class=\"note\""), 4 * 4);
    assert_eq!(count(&html, "alt=\"filter "), 4);
    assert_eq!(count(&html, "<figure><img"), 2);
    assert_eq!(count(&html, "class=\"hit"), 3);
}

#[test]
fn what_is_absent_is_said() {
    let model = model([8, 8, 1], 3);
    let page = |metrics: &[Line]| {
        let html = Report {
            metrics,
            recipe: "",
            repeat: "train",
            model: &model,
            best: None,
            scores: None,
            best_scores: None,
        }
        .html();
        check_safe(&html);
        html
    };
    let html = page(&history(1));
    assert!(html.contains("There were no images that the network was not trained on"));
    assert!(html.contains("There were no validation images"));
    assert!(html.contains("<dd>1<small>") || html.contains("1 epoch, 10 steps<"), "{html}");
    assert_eq!(count(&html, "<dt>Best epoch</dt>"), 0);
    // Training loss and accuracy, throughput: a point each.
    assert_eq!(count(&html, "<circle class=\"training\""), 4);
    let html = page(&[]);
    assert_eq!(count(&html, "Nothing was measured."), 4);
}

#[test]
fn many_classes_and_large_pictures_stay_small() {
    let html = report([300, 200, 3], 256, 60, &history(2000));
    assert!(html.len() < 1_500_000, "{} bytes", html.len());
    assert_eq!(count(&html, "class=\"matrix\""), 1);
    assert_eq!(count(&html, "<figure><img"), 24);
    assert!(html.contains("<p>One row in 10; metrics.jsonl has all of them.</p>"));
    assert!(html.contains("as RGB: grey is 0"));
    let html = report([8, 8, 4], 1, 0, &history(1));
    assert!(html.contains("None are listed."));
}

/// It is always 1 there.
#[test]
fn five_classes_have_no_top_5() {
    let of_three = report([8, 8, 1], 3, 2, &history(4));
    assert_eq!(count(&of_three, "Top-5 accuracy"), 0);
    let of_six = report([8, 8, 1], 6, 2, &history(4));
    assert_eq!(count(&of_six, "<dt>Top-5 accuracy</dt><dd>99.00"), 1);
}
