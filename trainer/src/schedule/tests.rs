//! The schedules beside PyTorch's, and where they have to end without it.

use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value};

/// Made by `tests/fixtures/make_schedules.py`; the README beside it describes the format.
const FIXTURE: &str = include_str!("../../../tests/fixtures/schedules.json");

fn recipe(settings: &[(&str, &str)]) -> Recipe {
    // What plateau needs.
    let held_out = [("data.validation", "100")];
    let settings = held_out.iter().chain(settings);
    let settings = settings.map(|&(field, value)| (field.to_owned(), value.to_owned()));
    Recipe::load("paper", &settings.collect::<Vec<_>>()).unwrap()
}

fn recipe_of(settings: &Map<String, Value>) -> Recipe {
    let texts: Vec<_> = settings.iter().map(|(field, v)| (field, v.to_string())).collect();
    recipe(&texts.iter().map(|(field, v)| (field.as_str(), v.as_str())).collect::<Vec<_>>())
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

/// PyTorch multiplies where it can from one step to the next, and so rounds once a step: with a
/// rounding of 1.1e-16, and what is left of a cosine near its end, 60 steps stay below 1e-12.
fn assert_close(found: f64, expected: f64, case: &Value, place: usize) {
    let close = (found - expected).abs() <= 1e-12 * expected;
    assert!(close, "{} at {place}: {found} instead of {expected}", case["recipe"]);
}

#[test]
fn every_curve_is_that_of_pytorch() {
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    let steps = fixture["steps"].as_u64().unwrap() as usize;
    let per_epoch = fixture["steps_per_epoch"].as_u64().unwrap() as usize;
    let cases = fixture["curves"].as_array().unwrap();
    assert!(cases.len() >= 30, "{} cases", cases.len());
    for case in cases {
        let recipe = recipe_of(case["recipe"].as_object().unwrap());
        let schedule = Schedule::new(&recipe, per_epoch, steps);
        let rates = numbers(&case["rates"]);
        assert_eq!(rates.len(), steps);
        for (step, expected) in rates.into_iter().enumerate() {
            assert_close(schedule.learning_rate(step), expected, case, step);
        }
        assert_eq!(schedule.state(), None);
    }
}

/// Also when it is stopped after every validation, and goes on from what it saved.
#[test]
fn plateau_is_that_of_pytorch() {
    let fixture: Value = serde_json::from_str(FIXTURE).unwrap();
    let cases = fixture["plateaus"].as_array().unwrap();
    assert!(cases.len() >= 8, "{} cases", cases.len());
    for case in cases {
        let recipe = recipe_of(case["recipe"].as_object().unwrap());
        let mut schedule = Schedule::new(&recipe, 10, 1000);
        assert_eq!(schedule.learning_rate(0), recipe.optimizer.lr);
        let results = numbers(&case["values"]).into_iter().zip(numbers(&case["rates"]));
        for (i, (value, expected)) in results.enumerate() {
            schedule.observe(10 * (i + 1), value);
            assert_close(schedule.learning_rate(10 * (i + 1)), expected, case, i);
            let state = toml::to_string(&schedule.state().unwrap()).unwrap();
            schedule = Schedule::new(&recipe, 10, 1000);
            schedule.restore(toml::from_str(&state).unwrap());
        }
    }
}

/// Results from within the warm-up would lower a rate that has not been tried.
#[test]
fn plateau_waits_for_the_warm_up() {
    let settings =
        [("schedule.kind", "plateau"), ("schedule.patience", "0"), ("schedule.warmup", "2")];
    let recipe = recipe(&settings);
    let mut schedule = Schedule::new(&recipe, 10, 1000);
    for steps in 1..20 {
        schedule.observe(steps, 1.0);
    }
    assert_eq!(schedule.learning_rate(20), recipe.optimizer.lr);
    schedule.observe(20, 1.0);
    assert_eq!(schedule.learning_rate(20), recipe.optimizer.lr);
    schedule.observe(30, 1.0);
    assert_eq!(schedule.learning_rate(30), 0.1 * recipe.optimizer.lr);
}

#[test]
fn a_warm_up_longer_than_the_run() {
    let settings = [("optimizer.lr", "1"), ("schedule.kind", "cosine"), ("schedule.warmup", "10")];
    let schedule = Schedule::new(&recipe(&settings), 5, 20);
    for step in 0..20 {
        assert_eq!(schedule.learning_rate(step), (step + 1) as f64 / 50.0);
    }
}

/// A run that is extended goes on where a curve ends, whatever the curve.
#[test]
fn beyond_the_end() {
    for (kind, end) in [("cosine", 0.25), ("polynomial", 0.25), ("one-cycle", 1.0 / 25.0 / 1e4)] {
        let settings =
            [("optimizer.lr", "1"), ("schedule.kind", kind), ("schedule.min_lr", "0.25")];
        // The last is of those that have it.
        let settings = &settings[..if kind == "one-cycle" { 2 } else { 3 }];
        let schedule = Schedule::new(&recipe(settings), 5, 20);
        for step in [20, 21, 1000, usize::MAX] {
            assert_eq!(schedule.learning_rate(step), end, "{kind}");
        }
    }
}

/// Epoch by epoch or step by step, after a warm-up, and as the last says from there on.
#[test]
fn a_list_of_factors() {
    let settings = [
        ("optimizer.lr", "0.5"),
        ("schedule.kind", "list"),
        ("schedule.factors", "[1.0, 0.0, 3.0]"),
        ("schedule.warmup", "0.5"),
    ];
    let by_step = [&settings[..], &[("schedule.by_step", "true")]].concat();
    let steps = [0, 1, 2, 3, 4, 5, 6, 9, 10, usize::MAX];
    for (settings, expected) in [
        (&settings[..], [0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.0, 0.0, 1.5, 1.5]),
        (&by_step[..], [0.25, 0.5, 0.5, 0.0, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5]),
    ] {
        let schedule = Schedule::new(&recipe(settings), 4, 12);
        assert_eq!(steps.map(|step| schedule.learning_rate(step)), expected);
    }
}

proptest! {
    /// No recipe that passes the check makes a rate that cannot be used.
    #[test]
    fn always_finite_and_never_negative(
        kind in prop::sample::select(vec![
            "constant", "step", "multi-step", "exponential", "cosine", "polynomial", "one-cycle",
            "list", "plateau",
        ]),
        exponents in prop::array::uniform3(-37.0..38.0f64),
        parts in prop::array::uniform3(0.0..=1.0f64),
        divisors in prop::array::uniform2(0.0..300.0f64),
        warmup in prop_oneof![Just(0.0), 0.0..3.0f64, Just(1e6)],
        per_epoch in 0usize..20,
        steps in 0usize..100,
        results in prop::collection::vec(0.0..3.0f64, 0..30),
    ) {
        let [lr, gamma, power] = exponents.map(|e| format!("{:e}", libm::exp10(e)));
        let [rise, start, low] = parts;
        let [first, last] = divisors.map(|e| format!("{:e}", libm::exp10(e)));
        let min_lr = low * lr.parse::<f64>().unwrap();
        let (min_lr, rise) = (format!("{min_lr:e}"), rise.to_string());
        let factors = format!("[{low}, {gamma}, 0]");
        let (gamma, min_lr) = (("schedule.gamma", &*gamma), ("schedule.min_lr", &*min_lr));
        let of_kind = match kind {
            "step" | "exponential" => vec![gamma],
            "multi-step" => vec![gamma, ("schedule.milestones", "[1, 2, 5]")],
            "cosine" => vec![min_lr],
            "polynomial" => vec![min_lr, ("schedule.power", &power)],
            "one-cycle" => vec![
                ("schedule.rise", &*rise),
                ("schedule.start_divisor", &first),
                ("schedule.end_divisor", &last),
            ],
            "list" => vec![("schedule.factors", &*factors)],
            "plateau" => vec![min_lr, ("schedule.patience", "0")],
            _ => vec![],
        };
        let (warmup, start) = (format!("{warmup:e}"), start.to_string());
        let of_all = [
            ("optimizer.lr", &*lr),
            ("schedule.kind", kind),
            ("schedule.warmup", &warmup),
            ("schedule.warmup_start", &start),
        ];
        let recipe = recipe(&[&of_all[..], &of_kind].concat());
        let mut schedule = Schedule::new(&recipe, per_epoch, steps);
        for step in (0..2 * steps + 2).chain([usize::MAX]) {
            let rate = schedule.learning_rate(step);
            prop_assert!(rate.is_finite() && rate >= 0.0, "step {step}: {rate}");
        }
        for (i, value) in results.into_iter().enumerate() {
            schedule.observe(i, value);
            let rate = schedule.learning_rate(i);
            prop_assert!(rate.is_finite() && rate >= 0.0, "after result {i}: {rate}");
        }
    }
}
