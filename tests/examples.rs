//! The examples, run. They are modules here, so that no test passes without the code that is shown.

#[allow(dead_code, reason = "the examples have a main function")]
#[path = "../examples/autograd.rs"]
mod autograd;
#[allow(dead_code, reason = "the examples have a main function")]
#[path = "../examples/own_network.rs"]
mod own_network;

#[test]
fn the_tape_agrees_with_calculus() {
    // Small whole and half numbers: every sum is exact.
    for (name, tape, by_hand) in [autograd::variables(), autograd::parameters()].concat() {
        assert_eq!(tape, by_hand, "{name}");
    }
}

#[test]
fn a_network_of_ones_own_learns() {
    let accuracy = own_network::train().unwrap();
    assert!(accuracy > 0.86, "{accuracy}");
}
